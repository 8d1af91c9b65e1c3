// Reductions, scans, sorting and searching.
#include "functions.h"

#include <cmath>
#include <optional>

#include "accumulation.h"

namespace mlx_coverage {

namespace {

using Moment =
    mx::array (*)(const mx::array&, const std::vector<int>&, bool, int, mx::StreamOrDevice);

// Of an array without elements MLX's kernels read past its end; `nothing` is what they reduce to.
mx::array fill_empty(const Call& c, const mx::array& a, const mx::array& result, double nothing) {
  return a.size() > 0 ? result
                      : mx::full(result.shape(), mx::array(nothing, result.dtype()), c.stream());
}

template <Reduction function, int nothing>
mx::array reduce(const Call& c) {
  const auto a = c.array(0);
  return fill_empty(c, a, function(a, c.axes(1, a.ndim()), c.flag(2), c.stream()), nothing);
}

// The array whose elements a reduction of nothing finds: there are none, or MLX refuses.
std::optional<mx::array> find_none(const Call& c, const mx::array& a, mx::Dtype dtype) {
  if (a.size() > 0) {
    return std::nullopt;
  }
  const auto rest = mx::any(a, c.axes(1, a.ndim()), c.flag(2), c.stream());
  return rest.size() > 0 ? std::nullopt : std::optional(mx::zeros(rest.shape(), dtype, c.stream()));
}

template <Reduction function>
mx::array reduce_some(const Call& c) {
  const auto a = c.array(0);
  const auto none = find_none(c, a, a.dtype());
  return none ? *none : function(a, c.axes(1, a.ndim()), c.flag(2), c.stream());
}

using Accumulation = mx::array (*)(const Call&, const mx::array&, const std::vector<int>&, bool);

template <Accumulation function>
mx::array accumulate(const Call& c, double nothing) {
  const auto a = c.array(0);
  return fill_empty(c, a, function(c, a, c.axes(1, a.ndim()), c.flag(2)), nothing);
}

mx::array logsumexp(
    const Call& c,
    const mx::array& a,
    const std::vector<int>& axes,
    bool keepdims) {
  if (a.size() == 0) {
    return mx::sum(a, axes, keepdims, c.stream()); // MLX refuses; what it would be is filled in
  }
  return is_long(c, a, axes) ? reduce_parts(mx::logsumexp, a, axes, keepdims, c.stream())
                             : mx::logsumexp(a, axes, keepdims, c.stream());
}

mx::array prod(const Call& c, const mx::array& a, const std::vector<int>& axes, bool keepdims) {
  return in_float64(is_long(c, a, axes), a, c.stream(), [&](const mx::array& x) {
    return mx::prod(x, axes, keepdims, c.stream());
  });
}

template <Moment function>
mx::array reduce_moment(const Call& c) {
  const auto a = c.array(0);
  const auto axes = c.axes(1, a.ndim());
  return in_float64(is_long(c, a, axes), a, c.stream(), [&](const mx::array& x) {
    return function(x, axes, c.flag(2), c.integer(3), c.stream());
  });
}

Arrays minmax(const Call& c) {
  const auto a = c.array(0);
  if (const auto none = find_none(c, a, a.dtype())) {
    return {*none, *none};
  }
  auto [low, high] = mx::minmax(a, c.axes(1, a.ndim()), c.flag(2), c.stream());
  return {low, high};
}

using Whole = mx::array (*)(const mx::array&, bool, mx::StreamOrDevice);
using Along = mx::array (*)(const mx::array&, int, bool, mx::StreamOrDevice);

template <Whole whole, Along along>
mx::array find_extreme(const Call& c) {
  const auto a = c.array(0);
  if (const auto none = find_none(c, a, mx::uint32)) {
    return *none;
  }
  return c.is_none(1) ? whole(a, c.flag(2), c.stream())
                      : along(a, c.integer(1), c.flag(2), c.stream());
}

using Scan = mx::array (*)(const mx::array&, int, bool, bool, mx::StreamOrDevice);
using TypedScan =
    mx::array (*)(const mx::array&, int, bool, bool, std::optional<mx::Dtype>, mx::StreamOrDevice);

// The array and the axis to scan: without an axis, the flattened array.
std::pair<mx::array, int> scanned(const Call& c) {
  const auto a = c.array(0);
  if (c.is_none(1)) {
    return {mx::reshape(a, {-1}, c.stream()), 0};
  }
  return {a, c.integer(1)};
}

template <Scan function>
mx::array scan(const Call& c) {
  const auto [a, axis] = scanned(c);
  return function(a, axis, c.flag(2), c.flag(3), c.stream());
}

mx::array logcumsumexp(const Call& c) {
  const auto [a, axis] = scanned(c);
  return in_float64(is_long(c, a, {axis}), a, c.stream(), [&, axis = axis](const mx::array& x) {
    return mx::logcumsumexp(x, axis, c.flag(2), c.flag(3), c.stream());
  });
}

template <TypedScan function>
mx::array typed_scan(const Call& c) {
  const auto [given, axis] = scanned(c);
  const auto a = mx::astype(given, c.maybe_dtype(4).value_or(given.dtype()), c.stream());
  return in_float64(is_long(c, a, {axis}), a, c.stream(), [&, axis = axis](const mx::array& x) {
    return function(x, axis, c.flag(2), c.flag(3), std::nullopt, c.stream());
  });
}

using SortWhole = mx::array (*)(const mx::array&, mx::StreamOrDevice);
using SortAlong = mx::array (*)(const mx::array&, int, mx::StreamOrDevice);
using SelectAlong = mx::array (*)(const mx::array&, int, int, mx::StreamOrDevice);

template <SortWhole whole, SortAlong along>
mx::array sort(const Call& c) {
  const auto a = c.array(0);
  return c.is_none(1) ? whole(a, c.stream()) : along(a, c.integer(1), c.stream());
}

template <SortAlong whole, SelectAlong along>
mx::array select(const Call& c) {
  const auto a = c.array(0);
  return c.is_none(2) ? whole(a, c.integer(1), c.stream())
                      : along(a, c.integer(1), c.integer(2), c.stream());
}

mx::array softmax(const Call& c) {
  const auto a = c.array(0);
  const auto axes = c.axes(1, a.ndim());
  const auto stream = c.stream();
  if (!is_long(c, a, axes)) {
    return mx::softmax(a, axes, c.flag(2), stream);
  }
  const auto powers = mx::exp(mx::subtract(a, mx::max(a, axes, true, stream), stream), stream);
  return mx::divide(powers, sum(c, powers, axes, true), stream);
}

mx::array searchsorted(const Call& c) {
  return mx::searchsorted(c.array(0), c.array(1), c.text(2), c.stream());
}

Arrays unique(const Call& c) {
  const auto a = c.array(0);
  std::optional<mx::array> fill;
  if (!c.is_none(5)) {
    fill = c.array(5, a.dtype());
  }
  return mx::unique(a, c.size(1), c.flag(2), c.flag(3), c.flag(4), fill, c.stream());
}

} // namespace

Rows reduction_functions() {
  return {
      {"all", 3, reduce<mx::all, 1>},
      {"any", 3, reduce<mx::any, 0>},
      {"count_nonzero", 3, reduce<mx::count_nonzero, 0>},
      {"logsumexp", 3, [](const Call& c) { return accumulate<logsumexp>(c, -INFINITY); }},
      {"max", 3, reduce_some<mx::max>},
      {"mean", 3, [](const Call& c) { return accumulate<mean>(c, NAN); }},
      {"median", 3, reduce_some<mx::median>},
      {"min", 3, reduce_some<mx::min>},
      {"prod", 3, [](const Call& c) { return accumulate<prod>(c, 1); }},
      {"sum", 3, [](const Call& c) { return accumulate<sum>(c, 0); }},
      {"std", 4, reduce_moment<mx::std>},
      {"var", 4, reduce_moment<mx::var>},
      {"minmax", 3, minmax},
      {"argmax", 3, find_extreme<mx::argmax, mx::argmax>},
      {"argmin", 3, find_extreme<mx::argmin, mx::argmin>},
      {"cummax", 4, scan<mx::cummax>},
      {"cummin", 4, scan<mx::cummin>},
      {"logcumsumexp", 4, logcumsumexp},
      {"cumprod", 5, typed_scan<mx::cumprod>},
      {"cumulative_prod", 5, typed_scan<mx::cumprod>},
      {"cumsum", 5, typed_scan<mx::cumsum>},
      {"cumulative_sum", 5, typed_scan<mx::cumsum>},
      {"argsort", 2, sort<mx::argsort, mx::argsort>},
      {"sort", 2, sort<mx::sort, mx::sort>},
      {"argpartition", 3, select<mx::argpartition, mx::argpartition>},
      {"partition", 3, select<mx::partition, mx::partition>},
      {"topk", 3, select<mx::topk, mx::topk>},
      {"searchsorted", 3, searchsorted},
      {"softmax", 3, softmax},
      {"unique", 6, unique},
  };
}

} // namespace mlx_coverage
