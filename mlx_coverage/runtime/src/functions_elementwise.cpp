// Elementwise functions, comparisons and casts.
#include "functions.h"

#include <string_view>

namespace mlx_coverage {

namespace {

constexpr auto DIVISORS = "no integer to be divided by zero";

using Unary = mx::array (*)(const mx::array&, mx::StreamOrDevice);
using Binary = mx::array (*)(const mx::array&, const mx::array&, mx::StreamOrDevice);

template <Unary function>
mx::array unary(const Call& c) {
  return function(c.array(0), c.stream());
}

template <Binary function>
mx::array binary(const Call& c) {
  auto [a, b] = c.operands(0, 1);
  return function(a, b, c.stream());
}

// Unlike the other binary functions, these take Python numbers at their own dtype.
template <Binary function>
mx::array logical(const Call& c) {
  return function(c.array(0), c.array(1), c.stream());
}

// A quotient of integers by zero is an error in torch, and any number on a device.
std::pair<mx::array, mx::array> dividend_and_divisor(const Call& c) {
  auto [a, b] = c.operands(0, 1);
  if (mx::issubdtype(mx::result_type({a, b}), mx::integer)) {
    c.demand(mx::not_equal(b, mx::array(0, b.dtype()), c.stream()));
  }
  return {a, b};
}

template <Binary function>
mx::array divide(const Call& c) {
  auto [a, b] = dividend_and_divisor(c);
  return function(a, b, c.stream());
}

mx::array astype(const Call& c) {
  return mx::astype(c.array(0), c.dtype(1), c.stream());
}

mx::array clip(const Call& c) {
  const auto a = c.array(0);
  auto bound = [&](size_t i) -> std::optional<mx::array> {
    return c.is_none(i) ? std::nullopt : std::optional(c.array(i, a.dtype()));
  };
  return mx::clip(a, bound(1), bound(2), c.stream());
}

mx::array where(const Call& c) {
  auto [x, y] = c.operands(1, 2);
  return mx::where(c.array(0), x, y, c.stream());
}

mx::array nan_to_num(const Call& c) {
  return mx::nan_to_num(
      c.array(0), static_cast<float>(c.real(1)), c.maybe_real(2), c.maybe_real(3), c.stream());
}

template <auto function>
mx::array compare_closely(const Call& c) {
  return function(c.array(0), c.array(1), c.real(2), c.real(3), c.flag(4), c.stream());
}

mx::array array_equal(const Call& c) {
  auto [a, b] = c.operands(0, 1);
  return mx::array_equal(a, b, c.flag(2), c.stream());
}

Arrays divmod(const Call& c) {
  auto [a, b] = dividend_and_divisor(c);
  return mx::divmod(a, b, c.stream());
}

// All but what looks at an array as a whole, or may fail.
bool is_elementwise(const Function& row) {
  const std::string_view name = row.name;
  return row.demand == nullptr && name != "array_equal" && name != "allclose" && name != "view";
}

} // namespace

Rows elementwise_functions() {
  Rows rows{
      {"abs", 1, unary<mx::abs>},
      {"arccos", 1, unary<mx::arccos>},
      {"acos", 1, unary<mx::arccos>},
      {"arccosh", 1, unary<mx::arccosh>},
      {"acosh", 1, unary<mx::arccosh>},
      {"arcsin", 1, unary<mx::arcsin>},
      {"asin", 1, unary<mx::arcsin>},
      {"arcsinh", 1, unary<mx::arcsinh>},
      {"asinh", 1, unary<mx::arcsinh>},
      {"arctan", 1, unary<mx::arctan>},
      {"atan", 1, unary<mx::arctan>},
      {"arctanh", 1, unary<mx::arctanh>},
      {"atanh", 1, unary<mx::arctanh>},
      {"bitwise_invert", 1, unary<mx::bitwise_invert>},
      {"ceil", 1, unary<mx::ceil>},
      {"conj", 1, unary<mx::conjugate>},
      {"conjugate", 1, unary<mx::conjugate>},
      {"cos", 1, unary<mx::cos>},
      {"cosh", 1, unary<mx::cosh>},
      {"degrees", 1, unary<mx::degrees>},
      {"erf", 1, unary<mx::erf>},
      {"erfinv", 1, unary<mx::erfinv>},
      {"exp", 1, unary<mx::exp>},
      {"expm1", 1, unary<mx::expm1>},
      {"floor", 1, unary<mx::floor>},
      {"imag", 1, unary<mx::imag>},
      {"isfinite", 1, unary<mx::isfinite>},
      {"isinf", 1, unary<mx::isinf>},
      {"isnan", 1, unary<mx::isnan>},
      {"isneginf", 1, unary<mx::isneginf>},
      {"isposinf", 1, unary<mx::isposinf>},
      {"log", 1, unary<mx::log>},
      {"log10", 1, unary<mx::log10>},
      {"log1p", 1, unary<mx::log1p>},
      {"log2", 1, unary<mx::log2>},
      {"logical_not", 1, unary<mx::logical_not>},
      {"negative", 1, unary<mx::negative>},
      {"positive", 1, unary<mx::positive>},
      {"radians", 1, unary<mx::radians>},
      {"real", 1, unary<mx::real>},
      {"reciprocal", 1, unary<mx::reciprocal>},
      {"rsqrt", 1, unary<mx::rsqrt>},
      {"sigmoid", 1, unary<mx::sigmoid>},
      {"sign", 1, unary<mx::sign>},
      {"sin", 1, unary<mx::sin>},
      {"sinh", 1, unary<mx::sinh>},
      {"sqrt", 1, unary<mx::sqrt>},
      {"square", 1, unary<mx::square>},
      {"stop_gradient", 1, unary<mx::stop_gradient>},
      {"tan", 1, unary<mx::tan>},
      {"tanh", 1, unary<mx::tanh>},
      {"trunc", 1, unary<mx::trunc>},
      {"add", 2, binary<mx::add>},
      {"arctan2", 2, binary<mx::arctan2>},
      {"atan2", 2, binary<mx::arctan2>},
      {"bitwise_and", 2, binary<mx::bitwise_and>},
      {"bitwise_or", 2, binary<mx::bitwise_or>},
      {"bitwise_xor", 2, binary<mx::bitwise_xor>},
      {"divide", 2, binary<mx::divide>},
      {"equal", 2, binary<mx::equal>},
      {"floor_divide", 2, divide<mx::floor_divide>, DIVISORS},
      {"greater", 2, binary<mx::greater>},
      {"greater_equal", 2, binary<mx::greater_equal>},
      {"bitwise_left_shift", 2, binary<mx::left_shift>},
      {"left_shift", 2, binary<mx::left_shift>},
      {"less", 2, binary<mx::less>},
      {"less_equal", 2, binary<mx::less_equal>},
      {"logaddexp", 2, binary<mx::logaddexp>},
      {"logical_and", 2, logical<mx::logical_and>},
      {"logical_or", 2, logical<mx::logical_or>},
      {"logical_xor", 2, logical<mx::logical_xor>},
      {"maximum", 2, binary<mx::maximum>},
      {"minimum", 2, binary<mx::minimum>},
      {"multiply", 2, binary<mx::multiply>},
      {"not_equal", 2, binary<mx::not_equal>},
      {"pow", 2, binary<mx::power>},
      {"power", 2, binary<mx::power>},
      {"remainder", 2, divide<mx::remainder>, DIVISORS},
      {"bitwise_right_shift", 2, binary<mx::right_shift>},
      {"right_shift", 2, binary<mx::right_shift>},
      {"subtract", 2, binary<mx::subtract>},
      {"divmod", 2, divmod, DIVISORS},
      {"array_equal", 3, array_equal},
      {"allclose", 5, compare_closely<mx::allclose>},
      {"isclose", 5, compare_closely<mx::isclose>},
      {"astype", 2, astype},
      {"clip", 3, clip},
      {"nan_to_num", 4, nan_to_num},
      {"round", 2, [](const Call& c) { return mx::round(c.array(0), c.integer(1), c.stream()); }},
      {"view", 2, [](const Call& c) { return mx::view(c.array(0), c.dtype(1), c.stream()); }},
      {"where", 3, where},
  };
  for (auto& row : rows) {
    row.elementwise = is_elementwise(row);
  }
  return rows;
}

} // namespace mlx_coverage
