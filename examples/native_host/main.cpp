// Runs a .pte without Python:
// native_host MODEL.pte OUTPUT_PREFIX [--repeat N] [--methods NAME[@SESSION],...] INPUT.npy ...
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>

#include <executorch/extension/module/module.h>

#include "mlx_coverage.h"
#include "npy.h"

using executorch::extension::Module;
using executorch::runtime::EValue;

// Has the calls to come read and write the state of the session that is named behind the method.
std::string use_session(const std::string& call, std::map<std::string, int64_t>& sessions) {
  const size_t at = call.find('@');
  const std::string name = at == std::string::npos ? "" : call.substr(at);
  if (!sessions.contains(name)) {
    sessions[name] = mlx_coverage_open_session();
  }
  mlx_coverage_use_session(sessions[name]);
  return call.substr(0, at);
}

void run(
    const std::string& model,
    const std::string& prefix,
    int repeat,
    const std::vector<std::string>& methods,
    char** paths,
    int count) {
  // Mapped, so that the weights are not copied; methods share what ExecuTorch keeps between calls.
  Module module(model, Module::LoadMode::Mmap, nullptr, nullptr, nullptr, true);
  const int32_t registered = mlx_coverage_register();
  std::map<std::string, int64_t> sessions;
  for (const auto& call : methods) {
    const std::string method = call.substr(0, call.find('@'));
    if (registered != 0 || module.load_method(method) != executorch::runtime::Error::Ok) {
      throw std::runtime_error(model + " does not load: " + mlx_coverage_last_error());
    }
  }
  std::vector<executorch::extension::TensorPtr> tensors;
  std::vector<EValue> inputs;
  for (int i = 0; i < count; ++i) {
    tensors.push_back(npy::read(paths[i]));
    inputs.emplace_back(*tensors.back());
  }
  std::vector<double> times;
  size_t written = 0;
  for (size_t i = 0; i < repeat * methods.size(); ++i) {
    const std::string method = use_session(methods[i % methods.size()], sessions);
    const auto start = std::chrono::steady_clock::now();
    const auto outputs = module.execute(method, inputs);
    const auto taken = std::chrono::steady_clock::now() - start;
    times.push_back(std::chrono::duration<double, std::milli>(taken).count());
    if (!outputs.ok()) {
      throw std::runtime_error(model + " failed: " + mlx_coverage_last_error());
    }
    // A program with state goes on from where it is: written are the outputs of the first round.
    for (size_t number = 0; i < methods.size() && number < outputs->size(); ++number, ++written) {
      if ((*outputs)[number].isTensor()) {
        npy::write(prefix + std::to_string(written) + ".npy", (*outputs)[number].toTensor());
      }
    }
  }
  std::printf(
      "device=%s mlx=%s first_ms=%.3f", mlx_coverage_device(), mlx_coverage_mlx_version_loaded(),
      times[0]);
  std::sort(times.begin() + 1, times.end());
  if (repeat > 1) {
    const double median = times[1 + (times.size() - 1) / 2];
    std::printf(" runs=%zu min_ms=%.3f median_ms=%.3f", times.size() - 1, times[1], median);
  }
  std::printf("\n");
}

int main(int argc, char** argv) {
  int repeat = 1;
  int next = 3;
  std::vector<std::string> methods;
  for (; next + 1 < argc && std::string(argv[next]).starts_with("--"); next += 2) {
    if (std::string(argv[next]) == "--repeat") {
      repeat = std::atoi(argv[next + 1]);
    }
    std::istringstream names(std::string(argv[next]) == "--methods" ? argv[next + 1] : "");
    for (std::string name; std::getline(names, name, ',');) {
      methods.push_back(name);
    }
  }
  if (argc < 3 || repeat < 1) {
    std::fprintf(
        stderr,
        "usage: %s MODEL.pte OUTPUT_PREFIX [--repeat N] [--methods NAME[@SESSION],...] "
        "[INPUT.npy ...]\n",
        argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], repeat, methods.empty() ? decltype(methods){"forward"} : methods,
        argv + next, argc - next);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
  return 0;
}
