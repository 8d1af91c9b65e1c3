// Functions that rearrange, join, split or repeat arrays.
#include "functions.h"

#include <algorithm>
#include <limits>

namespace mlx_coverage {

namespace {

mx::Shape to_shape(const std::vector<int>& sizes) {
  return mx::Shape(sizes.begin(), sizes.end());
}

// Sizes of which one may be -1, which MLX infers by a division.
mx::Shape read_sizes(const Call& c, size_t i) {
  const auto sizes = c.integers(i);
  const auto count = [&](int wanted) { return std::count(sizes.begin(), sizes.end(), wanted); };
  if (count(-1) > 1 || (count(-1) == 1 && count(0) > 0) ||
      std::any_of(sizes.begin(), sizes.end(), [](int size) { return size < -1; })) {
    c.refuse(i, "sizes from 0 up, or one -1 among sizes from 1 up");
  }
  return to_shape(sizes);
}

mx::array as_strided(const Call& c) {
  const auto a = c.array(0);
  const mx::Shape shape = c.is_none(1) ? a.shape() : c.shape(1);
  mx::Strides strides;
  if (c.is_none(2)) {
    strides = mx::Strides(shape.size(), 1);
    for (size_t axis = shape.size(); axis-- > 1;) {
      strides[axis - 1] = strides[axis] * shape[axis];
    }
  } else {
    const auto given = c.wide_integers(2);
    strides = mx::Strides(given.begin(), given.end());
  }
  if (strides.size() != shape.size()) {
    c.refuse(2, "as many strides as sizes");
  }
  // MLX does not check that the view stays inside the array.
  const Number offset = c.number(3);
  __int128 low = offset.integer;
  __int128 high = offset.integer;
  bool is_empty = false;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const __int128 reach = static_cast<__int128>(strides[axis]) * (shape[axis] - 1);
    (reach < 0 ? low : high) += reach;
    is_empty = is_empty || shape[axis] == 0;
  }
  if (!is_empty && (low < 0 || high >= static_cast<__int128>(a.size()))) {
    c.refuse("expected a view inside the array's " + std::to_string(a.size()) + " elements.");
  }
  const auto s = c.stream();
  // A copy: reductions mistake axes of equal strides for one another, and write out of bounds.
  const auto view = mx::as_strided(a, shape, strides, is_empty ? 0 : offset.integer, s);
  return mx::contiguous(view, false, s);
}

Arrays at_least(
    const Call& c,
    Arrays (*function)(const std::vector<mx::array>&, mx::StreamOrDevice)) {
  return function(c.arrays(0), c.stream());
}

mx::array concatenate(const Call& c) {
  return c.is_none(1) ? mx::concatenate(c.arrays(0), c.stream())
                      : mx::concatenate(c.arrays(0), c.integer(1), c.stream());
}

mx::array stack(const Call& c) {
  return c.is_none(1) ? mx::stack(c.arrays(0), c.stream())
                      : mx::stack(c.arrays(0), c.integer(1), c.stream());
}

mx::array flip(const Call& c) {
  const auto a = c.array(0);
  return mx::flip(a, c.axes(1, a.ndim()), c.stream());
}

mx::array squeeze(const Call& c) {
  return c.is_none(1) ? mx::squeeze(c.array(0), c.stream())
                      : mx::squeeze(c.array(0), c.one_or_more(1), c.stream());
}

mx::array transpose(const Call& c) {
  return c.is_none(1) ? mx::transpose(c.array(0), c.stream())
                      : mx::transpose(c.array(0), c.integers(1), c.stream());
}

mx::array pad(const Call& c) {
  const auto a = c.array(0);
  const auto value = c.array(3, a.dtype());
  std::vector<std::pair<int, int>> widths;
  if (c.is_list(1) && !c.items(1).empty() && c.items(1)[0].tag == Tag::list) {
    for (const auto& width : c.integer_lists(1)) {
      if (width.size() != 2) {
        c.refuse(1, "pairs of widths");
      }
      widths.emplace_back(width[0], width[1]);
    }
    if (widths.size() == 1) {
      widths.resize(a.ndim(), widths[0]);
    }
  } else {
    const auto width = c.one_or_more(1);
    if (width.empty() || width.size() > 2) {
      c.refuse(1, "an int, a pair, or a list of pairs");
    }
    widths.resize(a.ndim(), {width.front(), width.back()});
  }
  for (size_t axis = 0; axis < widths.size(); ++axis) {
    const auto [low, high] = widths[axis];
    if (low < 0 || high < 0) {
      c.refuse(1, "widths from 0 up");
    }
    const int64_t size = axis < a.ndim() ? a.shape(static_cast<int>(axis)) : 0;
    if (size + low + high > std::numeric_limits<int>::max()) {
      c.refuse(1, "widths that give sizes of 32 bits");
    }
  }
  return mx::pad(a, widths, value, c.text(2), c.stream());
}

mx::array repeat(const Call& c) {
  return c.is_none(2) ? mx::repeat(c.array(0), c.size(1), c.stream())
                      : mx::repeat(c.array(0), c.size(1), c.integer(2), c.stream());
}

mx::array roll(const Call& c) {
  const auto a = c.array(0);
  const auto shift = c.one_or_more(1);
  if (a.size() == 0) {
    return a;
  }
  if (c.is_none(2)) {
    return c.is_list(1) ? mx::roll(a, to_shape(shift), c.stream())
                        : mx::roll(a, shift[0], c.stream());
  }
  const auto axes = c.one_or_more(2);
  return c.is_list(1) ? mx::roll(a, to_shape(shift), axes, c.stream())
                      : mx::roll(a, shift[0], axes, c.stream());
}

// The number of parts is known, and checked before MLX makes as many arrays as were asked for.
void expect_parts(const Call& c, size_t parts) {
  if (parts != c.results()) {
    c.refuse(
        "expected " + std::to_string(c.results()) + " parts, came " + std::to_string(parts) + ".");
  }
}

// Each part of one split refers to all others.
constexpr size_t kMostParts = 4096;

Arrays split(const Call& c) {
  const auto a = c.array(0);
  if (c.results() > kMostParts) {
    c.refuse("expected at most " + std::to_string(kMostParts) + " parts.");
  }
  const int axis = c.integer(2);
  if (c.is_list(1)) {
    expect_parts(c, c.items(1).size() + 1);
    return mx::split(a, c.shape(1), axis, c.stream());
  }
  expect_parts(c, c.size(1));
  return mx::split(a, c.size(1), axis, c.stream());
}

Arrays unstack(const Call& c) {
  const auto a = c.array(0);
  const int axis = mx::normalize_axis_index(c.integer(1), a.ndim(), "[unstack] ");
  expect_parts(c, a.shape(axis));
  return mx::unstack(a, axis, c.stream());
}

mx::array tile(const Call& c) {
  const auto shape = c.shape(1);
  return mx::tile(c.array(0), std::vector<int>(shape.begin(), shape.end()), c.stream());
}

mx::array unflatten(const Call& c) {
  return mx::unflatten(c.array(0), c.integer(1), read_sizes(c, 2), c.stream());
}

mx::array diff(const Call& c) {
  const auto a = c.array(0);
  const int axis = mx::normalize_axis_index(c.integer(2), a.ndim(), "[diff] ");
  if (c.size(1) > a.shape(axis)) {
    c.refuse(1, "at most as many differences as the axis has elements");
  }
  return mx::diff(a, c.size(1), axis, c.stream());
}

Arrays depends(const Call& c) {
  auto listed = [&](size_t i) { return c.is_list(i) ? c.arrays(i) : Arrays{c.array(i)}; };
  const Arrays values = listed(0);
  if (values.empty()) {
    c.refuse(0, "an array or more");
  }
  return mx::depends(values, listed(1));
}

} // namespace

Rows shape_functions() {
  return {
      {"as_strided", 4, as_strided},
      {"atleast_1d", 1, [](const Call& c) { return at_least(c, mx::atleast_1d); }},
      {"atleast_2d", 1, [](const Call& c) { return at_least(c, mx::atleast_2d); }},
      {"atleast_3d", 1, [](const Call& c) { return at_least(c, mx::atleast_3d); }},
      {"broadcast_arrays", 1,
       [](const Call& c) { return mx::broadcast_arrays(c.arrays(0), c.stream()); }},
      {"broadcast_to", 2,
       [](const Call& c) { return mx::broadcast_to(c.array(0), c.shape(1), c.stream()); }},
      {"concat", 2, concatenate},
      {"concatenate", 2, concatenate},
      {"contiguous", 2,
       [](const Call& c) { return mx::contiguous(c.array(0), c.flag(1), c.stream()); }},
      {"depends", 2, depends},
      {"diff", 3, diff},
      {"expand_dims", 2,
       [](const Call& c) { return mx::expand_dims(c.array(0), c.one_or_more(1), c.stream()); }},
      {"flatten", 3,
       [](const Call& c) {
         return mx::flatten(c.array(0), c.integer(1), c.integer(2), c.stream());
       }},
      {"flip", 2, flip},
      {"matrix_transpose", 1,
       [](const Call& c) { return mx::matrix_transpose(c.array(0), c.stream()); }},
      {"meshgrid", 3,
       [](const Call& c) { return mx::meshgrid(c.arrays(0), c.flag(1), c.text(2), c.stream()); }},
      {"moveaxis", 3,
       [](const Call& c) {
         return mx::moveaxis(c.array(0), c.integer(1), c.integer(2), c.stream());
       }},
      {"pad", 4, pad},
      {"permute_dims", 2, transpose},
      {"repeat", 3, repeat},
      {"reshape", 2,
       [](const Call& c) { return mx::reshape(c.array(0), read_sizes(c, 1), c.stream()); }},
      {"roll", 3, roll},
      {"split", 3, split},
      {"squeeze", 2, squeeze},
      {"stack", 2, stack},
      {"swapaxes", 3,
       [](const Call& c) {
         return mx::swapaxes(c.array(0), c.integer(1), c.integer(2), c.stream());
       }},
      {"tile", 2, tile},
      {"transpose", 2, transpose},
      {"unflatten", 3, unflatten},
      {"unstack", 2, unstack},
  };
}

} // namespace mlx_coverage
