#include "functions.h"

#include <algorithm>
#include <string_view>

namespace mlx_coverage {

const Rows& function_table() {
  static const Rows table = [] {
    Rows rows;
    for (const auto family :
         {elementwise_functions, reduction_functions, shape_functions, creation_functions,
          indexing_functions, matrix_functions, convolution_functions, fast_functions,
          fft_functions, linalg_functions, host_functions}) {
      Rows more = family();
      rows.insert(rows.end(), more.begin(), more.end());
    }
    std::sort(rows.begin(), rows.end(), [](const Function& a, const Function& b) {
      return std::string_view(a.name) < b.name;
    });
    return rows;
  }();
  return table;
}

const Function* find_function(const std::string& name) {
  const Rows& table = function_table();
  const auto row = std::lower_bound(
      table.begin(), table.end(), name,
      [](const Function& function, const std::string& wanted) { return function.name < wanted; });
  return row != table.end() && row->name == name ? &*row : nullptr;
}

} // namespace mlx_coverage
