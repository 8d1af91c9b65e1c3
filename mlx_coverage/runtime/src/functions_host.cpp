// Arithmetic on host numbers with Python's meaning, and numbers read from arrays.
#include "functions.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string_view>
#include <tuple>

#include <mlx/primitives.h>

#include "failure.h"

namespace mlx_coverage {

namespace {

[[noreturn]] void overflow(const Call& c) {
  c.refuse("the result does not fit in 64 bits.");
}

int64_t to_integer(const Call& c, double value) {
  // 2**63 is exact in a double; its neighbour below is the largest that fits.
  if (!(value >= -9223372036854775808.0 && value < 9223372036854775808.0)) {
    overflow(c);
  }
  return static_cast<int64_t>(value);
}

double nonzero(const Call& c, const Number& divisor) {
  if (divisor.as_real() == 0) {
    c.refuse("division by zero.");
  }
  return divisor.as_real();
}

// On two ints exactly (`exact` says whether it overflowed), else on two reals.
template <typename Exact, typename Real>
Number compute(const Call& c, Exact exact, Real real) {
  const Number a = c.number(0);
  const Number b = c.number(1);
  if (a.is_real || b.is_real) {
    return Number::of(real(a.as_real(), b.as_real()));
  }
  int64_t result = 0;
  if (exact(a.integer, b.integer, result)) {
    overflow(c);
  }
  return Number::of(result);
}

Number add(const Call& c) {
  return compute(
      c, [](int64_t a, int64_t b, int64_t& sum) { return __builtin_add_overflow(a, b, &sum); },
      [](double a, double b) { return a + b; });
}

Number sub(const Call& c) {
  return compute(
      c, [](int64_t a, int64_t b, int64_t& rest) { return __builtin_sub_overflow(a, b, &rest); },
      [](double a, double b) { return a - b; });
}

Number mul(const Call& c) {
  return compute(
      c,
      [](int64_t a, int64_t b, int64_t& product) { return __builtin_mul_overflow(a, b, &product); },
      [](double a, double b) { return a * b; });
}

double real_mod(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) {
    return std::copysign(0.0, b);
  }
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

Number floordiv(const Call& c) {
  const Number a = c.number(0);
  const Number b = c.number(1);
  const double divisor = nonzero(c, b);
  if (a.is_real || b.is_real) {
    // As Python does: from the remainder, so that a == b * (a // b) + a % b.
    return Number::of(std::round((a.as_real() - real_mod(a.as_real(), divisor)) / divisor));
  }
  if (a.integer == std::numeric_limits<int64_t>::min() && b.integer == -1) {
    overflow(c);
  }
  const int64_t quotient = a.integer / b.integer;
  const bool rounds_up = a.integer % b.integer != 0 && (a.integer < 0) != (b.integer < 0);
  return Number::of(quotient - rounds_up);
}

Number mod(const Call& c) {
  const Number a = c.number(0);
  const Number b = c.number(1);
  const double divisor = nonzero(c, b);
  if (a.is_real || b.is_real) {
    return Number::of(real_mod(a.as_real(), divisor));
  }
  if (b.integer == -1) {
    return Number::of(int64_t{0});
  }
  const int64_t rest = a.integer % b.integer;
  return Number::of(rest != 0 && (rest < 0) != (b.integer < 0) ? rest + b.integer : rest);
}

Number truediv(const Call& c) {
  return Number::of(c.number(0).as_real() / nonzero(c, c.number(1)));
}

Number pow(const Call& c) {
  const Number a = c.number(0);
  const Number b = c.number(1);
  if (a.as_real() == 0 && b.as_real() < 0) {
    c.refuse("division by zero.");
  }
  if (a.is_real || b.is_real || b.integer < 0) {
    return Number::of(std::pow(a.as_real(), b.as_real()));
  }
  int64_t result = 1;
  int64_t base = a.integer;
  for (int64_t exponent = b.integer; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      overflow(c);
    }
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) {
      overflow(c);
    }
  }
  return Number::of(result);
}

// -1, 0 or 1; 2 when one of the numbers is NaN.
int order(const Call& c) {
  const Number a = c.number(0);
  const Number b = c.number(1);
  if (!a.is_real && !b.is_real) {
    return (a.integer > b.integer) - (a.integer < b.integer);
  }
  const double x = a.as_real();
  const double y = b.as_real();
  return x != x || y != y ? 2 : (x > y) - (x < y);
}

Number truth(bool value) {
  return Number::of(int64_t{value});
}

template <double (*function)(double)>
Number to_whole(const Call& c) {
  const Number value = c.number(0);
  return value.is_real ? Number::of(to_integer(c, function(value.real))) : value;
}

Number neg(const Call& c) {
  const Number value = c.number(0);
  if (value.is_real) {
    return Number::of(-value.real);
  }
  if (value.integer == std::numeric_limits<int64_t>::min()) {
    overflow(c);
  }
  return Number::of(-value.integer);
}

Number within(const Call& c) {
  const int64_t value = c.number(0).integer;
  const int64_t low = c.number(1).integer;
  const int64_t high = c.number(2).integer;
  if (c.number(0).is_real || value < low || value > high) {
    fail(
        Error::InvalidArgument, "[host.within] expected a position from ", low, " to ", high,
        ", came ", c.number(0).as_real(), ".");
  }
  return c.number(0);
}

Number size(const Call& c) {
  const auto a = c.array(0);
  const int axis = mx::normalize_axis_index(c.integer(1), a.ndim(), "[host.size] ");
  return Number::of(int64_t{a.shape(axis)});
}

// An element of an array that is in memory already.
struct Element {
  mx::array array;
  int64_t place; // in elements
};

// The one element of `a`, seen through views: what an input or a state holds needs no evaluation.
std::optional<Element> find_element(mx::array a) {
  while (!a.is_available()) {
    if (!a.has_primitive() || a.inputs().size() != 1) {
      return std::nullopt;
    }
    const std::string_view name = a.primitive().name();
    const mx::array source = a.inputs()[0];
    if (source.size() == 1 &&
        (name == "Slice" || name == "Squeeze" || name == "ExpandDims" || name == "Reshape" ||
         name == "Broadcast")) {
      a = source;
    } else if (name == "Slice" && source.is_available()) {
      const auto start = std::get<0>(static_cast<mx::Slice&>(a.primitive()).state());
      int64_t place = 0;
      for (size_t axis = 0; axis < start.size(); ++axis) {
        place += int64_t{start[axis]} * source.strides(static_cast<int>(axis));
      }
      return Element{source, place};
    } else {
      return std::nullopt;
    }
  }
  return Element{a, 0};
}

Number item(const Call& c) {
  const auto a = c.array(0);
  if (a.size() == 1 && (a.dtype() == mx::int64 || a.dtype() == mx::int32)) {
    if (auto found = find_element(a)) {
      auto& [array, place] = *found;
      return Number::of(
          a.dtype() == mx::int64 ? array.data<int64_t>()[place]
                                 : int64_t{array.data<int32_t>()[place]});
    }
  }
  if (a.size() != 1) {
    c.refuse("expected one element, came " + std::to_string(a.size()) + ".");
  }
  if (mx::issubdtype(a.dtype(), mx::complexfloating)) {
    c.refuse("expected a real number, came a complex one.");
  }
  if (mx::issubdtype(a.dtype(), mx::floating)) {
    if (a.dtype() == mx::float64) {
      return Number::of(mx::array(a).item<double>());
    }
    return Number::of(double{mx::astype(a, mx::float32, c.stream()).item<float>()});
  }
  if (a.dtype() == mx::uint64) {
    const uint64_t value = mx::array(a).item<uint64_t>();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      overflow(c);
    }
    return Number::of(static_cast<int64_t>(value));
  }
  return Number::of(mx::astype(a, mx::int64, c.stream()).item<int64_t>());
}

} // namespace

Rows host_functions() {
  return {
      {"host.size", 2, size},
      {"host.item", 1, item},
      {"host.add", 2, add},
      {"host.sub", 2, sub},
      {"host.mul", 2, mul},
      {"host.floordiv", 2, floordiv},
      {"host.truediv", 2, truediv},
      {"host.mod", 2, mod},
      {"host.pow", 2, pow},
      {"host.min", 2, [](const Call& c) { return order(c) == 1 ? c.number(1) : c.number(0); }},
      {"host.max", 2, [](const Call& c) { return order(c) == -1 ? c.number(1) : c.number(0); }},
      {"host.neg", 1, neg},
      {"host.within", 3, within},
      {"host.int", 1, to_whole<std::trunc>},
      {"host.float", 1, [](const Call& c) { return Number::of(c.number(0).as_real()); }},
      {"host.floor", 1, to_whole<std::floor>},
      {"host.ceil", 1, to_whole<std::ceil>},
      {"host.round", 1, to_whole<std::nearbyint>},
      {"host.eq", 2, [](const Call& c) { return truth(order(c) == 0); }},
      {"host.ne", 2, [](const Call& c) { return truth(order(c) != 0); }},
      {"host.lt", 2, [](const Call& c) { return truth(order(c) == -1); }},
      {"host.le", 2, [](const Call& c) { return truth(order(c) == -1 || order(c) == 0); }},
      {"host.gt", 2, [](const Call& c) { return truth(order(c) == 1); }},
      {"host.ge", 2, [](const Call& c) { return truth(order(c) == 1 || order(c) == 0); }},
      {"host.where", 3, [](const Call& c) { return c.flag(0) ? c.number(1) : c.number(2); }},
  };
}

} // namespace mlx_coverage
