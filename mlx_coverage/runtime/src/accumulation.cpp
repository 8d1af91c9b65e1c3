#include "accumulation.h"

#include <algorithm>
#include <cstdint>

namespace mlx_coverage {

namespace {

constexpr int64_t LONG = 1024; // the most elements that one loop adds in float32
constexpr int PART = 64; // the elements of a part

int64_t count(const mx::array& a, const std::vector<int>& axes) {
  int64_t total = 1;
  for (const int axis : axes) {
    total *= a.shape(axis);
  }
  return total;
}

// `a` from `start` to before `stop` on one axis.
mx::array slice(const mx::array& a, int axis, int start, int stop, mx::Stream stream) {
  mx::Shape low(a.ndim(), 0);
  mx::Shape high = a.shape();
  low[axis] = start;
  high[axis] = stop;
  return mx::slice(a, low, high, stream);
}

// `axes` of `a` shortened: the last of them are reduced whole, up to PART elements in all, and
// the one before is cut into parts. The results lie on axes that are kept.
mx::array reduce_within(
    Reduction function,
    const mx::array& a,
    const std::vector<int>& axes, // ascending
    mx::Stream stream) {
  int part = PART;
  std::vector<int> whole;
  auto axis = axes.rbegin();
  for (; axis != axes.rend() && a.shape(*axis) <= part; ++axis) {
    whole.push_back(*axis);
    part /= std::max(1, a.shape(*axis));
  }
  if (axis == axes.rend() || part == 1) {
    return whole.empty() ? a : function(a, whole, true, stream);
  }
  const int parts = a.shape(*axis) / part;
  mx::Shape cut = a.shape();
  cut[*axis] = part;
  cut.insert(cut.begin() + *axis, parts);
  std::vector<int> inner{*axis + 1};
  for (const int after : whole) {
    inner.push_back(after + 1);
  }
  const auto even = slice(a, *axis, 0, parts * part, stream);
  const auto reduced =
      mx::squeeze(function(mx::reshape(even, cut, stream), inner, true, stream), *axis + 1, stream);
  if (parts * part == a.shape(*axis)) {
    return reduced;
  }
  whole.push_back(*axis);
  const auto rest = slice(a, *axis, parts * part, a.shape(*axis), stream);
  return mx::concatenate({reduced, function(rest, whole, true, stream)}, *axis, stream);
}

} // namespace

bool is_long(const Call& c, const mx::array& a, const std::vector<int>& axes) {
  const int rank = static_cast<int>(a.ndim());
  const auto known = [rank](int axis) { return -rank <= axis && axis < rank; };
  // What MLX refuses is left to MLX.
  return c.on_cpu() && a.dtype() == mx::float32 && a.size() > 0 &&
      std::all_of(axes.begin(), axes.end(), known) && count(a, axes) > LONG;
}

mx::array reduce_parts(
    Reduction function,
    const mx::array& a,
    std::vector<int> axes,
    bool keepdims,
    mx::Stream stream) {
  for (int& axis : axes) {
    axis += axis < 0 ? static_cast<int>(a.ndim()) : 0;
  }
  std::sort(axes.begin(), axes.end());
  const auto wide = mx::astype(reduce_within(function, a, axes, stream), mx::float64, stream);
  return mx::astype(function(wide, axes, keepdims, stream), mx::float32, stream);
}

mx::array sum(const Call& c, const mx::array& a, const std::vector<int>& axes, bool keepdims) {
  return is_long(c, a, axes) ? reduce_parts(mx::sum, a, axes, keepdims, c.stream())
                             : mx::sum(a, axes, keepdims, c.stream());
}

mx::array mean(const Call& c, const mx::array& a, const std::vector<int>& axes, bool keepdims) {
  if (!is_long(c, a, axes)) {
    return mx::mean(a, axes, keepdims, c.stream());
  }
  const auto total = mx::array(static_cast<float>(count(a, axes)));
  return mx::divide(sum(c, a, axes, keepdims), total, c.stream());
}

} // namespace mlx_coverage
