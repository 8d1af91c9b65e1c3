#include "bounds.h"

namespace mlx_coverage {

mx::array bound_indices(const Call& call, const mx::array& indices, int size) {
  if (!mx::issubdtype(indices.dtype(), mx::integer)) {
    call.refuse("expected indices of an integer dtype.");
  }
  if (indices.size() > 0 && size == 0) {
    call.refuse("expected no indices into an axis of size 0, came " +
                std::to_string(indices.size()) + ".");
  }
  if (!call.on_cpu() || indices.size() == 0) {
    return indices;
  }
  const auto s = call.stream();
  // Narrow dtypes may not hold the bounds.
  const auto wide = indices.itemsize() < 4 ? mx::astype(indices, mx::int32, s) : indices;
  const auto last = mx::array(int64_t{size} - 1, wide.dtype());
  if (mx::issubdtype(wide.dtype(), mx::unsignedinteger)) {
    return mx::minimum(wide, last, s);
  }
  return mx::clip(wide, mx::array(-int64_t{size}, wide.dtype()), last, s);
}

} // namespace mlx_coverage
