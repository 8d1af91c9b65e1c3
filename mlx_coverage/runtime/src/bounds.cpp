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
  const auto bounded = mx::issubdtype(wide.dtype(), mx::unsignedinteger)
      ? mx::minimum(wide, last, s)
      : mx::clip(wide, mx::array(-int64_t{size}, wide.dtype()), last, s);
  call.demand(mx::equal(bounded, wide, s));
  return bounded;
}

mx::array bound_starts(
    const Call& call,
    const mx::array& starts,
    const mx::array& array,
    const std::vector<int>& axes,
    const mx::Shape& sizes) {
  if (!mx::issubdtype(starts.dtype(), mx::integer) || starts.size() != axes.size()) {
    call.refuse("expected " + std::to_string(axes.size()) + " integer starts, one for each axis.");
  }
  std::vector<int> last;
  for (const int axis : axes) {
    const int normal = mx::normalize_axis_index(axis, array.ndim(), "[bounds] ");
    last.push_back(array.shape(normal) - sizes[normal]);
    if (last.back() < 0) {
      call.refuse("expected a slice no larger than the array.");
    }
  }
  if (!call.on_cpu() || axes.empty()) {
    return starts;
  }
  const auto s = call.stream();
  const auto most = mx::array(last.begin(), {static_cast<int>(last.size())}, mx::int32);
  // int64 holds every start: a narrower one could wrap into the array.
  const auto wide = mx::astype(starts, mx::int64, s);
  const auto bounded = mx::astype(
      mx::clip(wide, mx::array(int64_t{0}), mx::astype(most, mx::int64, s), s), mx::int32, s);
  call.demand(mx::equal(bounded, wide, s));
  return starts.ndim() == 0 ? mx::reshape(bounded, {}, s) : bounded;
}

} // namespace mlx_coverage
