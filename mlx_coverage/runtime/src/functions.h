// The function table: one row per function of mlx.core that a Program may call, plus the
// functions of docs/payload.md. Rows live in functions_*.cpp, each opening on a line of its own
// with the name and the number of arguments: Python reads the list from the source text.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <mlx/mlx.h>

#include "arguments.h"

namespace mlx_coverage {

namespace mx = mlx::core;

using Arrays = std::vector<mx::array>;

struct Function {
  const char* name;
  uint8_t arity;
  std::variant<mx::array (*)(const Call&), Arrays (*)(const Call&), Number (*)(const Call&)> run;
  // What it asks of values that are known only on the device; see Call::demand.
  const char* demand = nullptr;
  // Which of its calls MLX has on a CPU only: they run there, whatever the device is. nullptr:
  // none.
  bool (*cpu_only)(const Call&) = nullptr;
  // Whether each element of the result depends on one element of each operand.
  bool elementwise = false;

  // Whether the result is a number, computed on the host.
  bool is_host() const {
    return run.index() == 2;
  }
};

using Rows = std::vector<Function>;

Rows elementwise_functions();
Rows reduction_functions();
Rows shape_functions();
Rows creation_functions();
Rows indexing_functions();
Rows matrix_functions();
Rows convolution_functions();
Rows fast_functions();
Rows fft_functions();
Rows linalg_functions();
Rows host_functions();

// All rows, sorted by name.
const Rows& function_table();

// The row of that name, or nullptr.
const Function* find_function(const std::string& name);

} // namespace mlx_coverage
