// Runs a .pte without Python: native_host MODEL.pte OUTPUT_PREFIX [--repeat N] INPUT.npy ...
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include <executorch/extension/module/module.h>

#include "mlx_coverage.h"
#include "npy.h"

using executorch::extension::Module;
using executorch::runtime::EValue;

void run(const std::string& model, const std::string& prefix, int repeat, char** paths, int count) {
  // Mapped, so that the weights are not copied.
  Module module(model, Module::LoadMode::Mmap);
  if (mlx_coverage_register() != 0 || module.load_forward() != executorch::runtime::Error::Ok) {
    throw std::runtime_error(model + " does not load: " + mlx_coverage_last_error());
  }
  std::vector<executorch::extension::TensorPtr> tensors;
  std::vector<EValue> inputs;
  for (int i = 0; i < count; ++i) {
    tensors.push_back(npy::read(paths[i]));
    inputs.emplace_back(*tensors.back());
  }
  std::vector<double> times;
  for (int i = 0; i < repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto outputs = module.forward(inputs);
    const auto taken = std::chrono::steady_clock::now() - start;
    times.push_back(std::chrono::duration<double, std::milli>(taken).count());
    if (!outputs.ok()) {
      throw std::runtime_error(model + " failed: " + mlx_coverage_last_error());
    }
    // A program with state goes on from where it is: written are the outputs of the first run.
    for (size_t number = 0; i == 0 && number < outputs->size(); ++number) {
      if ((*outputs)[number].isTensor()) {
        npy::write(prefix + std::to_string(number) + ".npy", (*outputs)[number].toTensor());
      }
    }
  }
  std::printf("device=%s mlx=%s first_ms=%.3f", mlx_coverage_device(),
              mlx_coverage_mlx_version_loaded(), times[0]);
  std::sort(times.begin() + 1, times.end());
  if (repeat > 1) {
    const double median = times[1 + (repeat - 1) / 2];
    std::printf(" runs=%d min_ms=%.3f median_ms=%.3f", repeat - 1, times[1], median);
  }
  std::printf("\n");
}

int main(int argc, char** argv) {
  const bool repeats = argc > 4 && std::string(argv[3]) == "--repeat";
  const int repeat = repeats ? std::atoi(argv[4]) : 1;
  const int next = repeats ? 5 : 3;
  if (argc < 3 || repeat < 1) {
    std::fprintf(
        stderr, "usage: %s MODEL.pte OUTPUT_PREFIX [--repeat N] [INPUT.npy ...]\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], repeat, argv + next, argc - next);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
  return 0;
}
