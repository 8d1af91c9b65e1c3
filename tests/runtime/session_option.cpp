// Binds two methods of a program to two sessions at load time, and calls them while the thread uses
// another: session_option MODEL.pte METHOD METHOD prints the first element that each call gives.
#include <cstdio>
#include <string>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include "mlx_coverage.h"

using namespace executorch;

int load(extension::Module& module, const std::string& method, int64_t session) {
  runtime::BackendOptions<1> options;
  options.set_option("session", static_cast<int>(session));
  runtime::LoadBackendOptionsMap map;
  (void)map.set_options("MLXCoverageBackend", options.view());
  return static_cast<int>(module.load_method(method, nullptr, nullptr, &map));
}

int main(int, char** argv) {
  mlx_coverage_register();
  extension::Module module(argv[1], extension::Module::LoadMode::Mmap, nullptr, nullptr, nullptr,
                           true);
  if (load(module, argv[2], 99) != 0) {
    std::printf("%s\n", mlx_coverage_last_error());
  }
  for (int i = 2; i < 4; ++i) {
    if (load(module, argv[i], mlx_coverage_open_session()) != 0) {
      std::printf("%s\n", mlx_coverage_last_error());
      return 1;
    }
  }
  auto ones = extension::ones({2});
  for (int i = 0; i < 4; ++i) {
    mlx_coverage_use_session(mlx_coverage_open_session());
    const auto outputs = module.execute(argv[2 + i % 2], *ones);
    std::printf("%g\n", (*outputs)[0].toTensor().const_data_ptr<float>()[0]);
  }
  return 0;
}
