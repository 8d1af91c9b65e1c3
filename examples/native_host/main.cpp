// Runs a .pte without Python: native_host MODEL.pte OUTPUT_PREFIX [--repeat N] INPUT.npy ...
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include "mlx_coverage.h"
#include "npy.h"

using executorch::extension::Module;
using executorch::runtime::EValue;

namespace {

double run_once(Module& module, const std::vector<EValue>& inputs, std::vector<EValue>& outputs) {
  const auto start = std::chrono::steady_clock::now();
  auto result = module.forward(inputs);
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
  if (!result.ok()) {
    throw std::runtime_error(std::string("the program failed: ") + mlx_coverage_last_error());
  }
  outputs = std::move(result.get());
  return taken.count();
}

int run(const std::string& model, const std::string& prefix, int repeat, char** paths, int count) {
  if (mlx_coverage_register() != 0) {
    throw std::runtime_error(mlx_coverage_last_error());
  }
  // Mapped, so that the weights are not copied.
  Module module(model, Module::LoadMode::Mmap);
  if (module.load_forward() != executorch::runtime::Error::Ok) {
    throw std::runtime_error(model + " does not load: " + mlx_coverage_last_error());
  }
  std::vector<npy::Array> arrays;
  for (int i = 0; i < count; ++i) {
    arrays.push_back(npy::read(paths[i]));
  }
  std::vector<executorch::extension::TensorPtr> tensors;
  std::vector<EValue> inputs;
  for (auto& array : arrays) {
    tensors.push_back(
        executorch::extension::from_blob(array.data.data(), array.shape, array.dtype));
    inputs.emplace_back(*tensors.back());
  }
  std::vector<EValue> outputs;
  const double first = run_once(module, inputs, outputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].isTensor()) {
      npy::write(prefix + std::to_string(i) + ".npy", outputs[i].toTensor());
    }
  }
  // A program with state goes on from where it is: the outputs written are those of the first run.
  std::vector<double> times;
  for (int i = 1; i < repeat; ++i) {
    times.push_back(run_once(module, inputs, outputs));
  }
  std::sort(times.begin(), times.end());
  std::printf("device=%s mlx=%s first_ms=%.3f", mlx_coverage_device(),
              mlx_coverage_mlx_version_loaded(), first);
  if (!times.empty()) {
    std::printf(" runs=%zu min_ms=%.3f median_ms=%.3f", times.size(), times.front(),
                times[times.size() / 2]);
  }
  std::printf("\n");
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  int next = 3;
  int repeat = 1;
  if (argc > 4 && std::string(argv[3]) == "--repeat") {
    repeat = std::atoi(argv[4]);
    next = 5;
  }
  if (argc < 3 || repeat < 1) {
    std::fprintf(
        stderr, "usage: %s MODEL.pte OUTPUT_PREFIX [--repeat N] [INPUT.npy ...]\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1], argv[2], repeat, argv + next, argc - next);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}
