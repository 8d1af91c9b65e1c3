// Functions that read or write parts of an array.
#include "functions.h"

#include "bounds.h"

namespace mlx_coverage {

namespace {

struct Range {
  mx::Shape start;
  mx::Shape stop;
  mx::Shape strides;
};

// Three lists of one int per dimension of `a`, beginning at argument i. MLX clamps the ends.
Range read_range(const Call& c, size_t i, const mx::array& a) {
  const auto start = c.integers(i);
  auto stop = c.integers(i + 1);
  const auto strides = c.integers(i + 2);
  for (size_t k = 0; k < 3; ++k) {
    if (c.items(i + k).size() != a.ndim()) {
      c.refuse(i + k, std::to_string(a.ndim()) + " ints, one for each dimension");
    }
  }
  for (size_t axis = 0; axis < a.ndim(); ++axis) {
    if (strides[axis] == 0) {
      c.refuse(i + 2, "strides other than 0");
    }
    if (strides[axis] < 0 && stop[axis] < 0) {
      // Going down past the first element; MLX counts -1 from the end.
      stop[axis] = -a.shape(axis) - 1;
    }
  }
  return {
      {start.begin(), start.end()}, {stop.begin(), stop.end()}, {strides.begin(), strides.end()}};
}

mx::array slice(const Call& c) {
  const auto a = c.array(0);
  auto range = read_range(c, 1, a);
  return mx::slice(a, range.start, range.stop, range.strides, c.stream());
}

mx::array slice_update(const Call& c) {
  const auto a = c.array(0);
  auto range = read_range(c, 2, a);
  if (mx::slice(a, range.start, range.stop, range.strides, c.stream()).size() == 0) {
    return a; // nothing to write; a GPU's kernel is not made for it
  }
  return mx::slice_update(a, c.array(1), range.start, range.stop, range.strides, c.stream());
}

mx::array slice_at(const Call& c) {
  const auto a = c.array(0);
  const auto axes = c.integers(2);
  const auto sizes = c.shape(3);
  if (sizes.size() != a.ndim()) {
    c.refuse(3, std::to_string(a.ndim()) + " sizes, one for each dimension");
  }
  return mx::slice(a, bound_starts(c, c.array(1), a, axes, sizes), axes, sizes, c.stream());
}

mx::array slice_update_at(const Call& c) {
  const auto a = c.array(0);
  const auto update = c.array(1);
  const auto axes = c.integers(3);
  if (update.ndim() > a.ndim()) {
    c.refuse("expected an update of at most " + std::to_string(a.ndim()) + " dimensions.");
  }
  // Leading dimensions that the update lacks are 1.
  mx::Shape sizes(a.ndim() - update.ndim(), 1);
  sizes.insert(sizes.end(), update.shape().begin(), update.shape().end());
  return mx::slice_update(a, update, bound_starts(c, c.array(2), a, axes, sizes), axes, c.stream());
}

// The index arrays of argument 1, for the leading axes of `a`.
Arrays read_indices(const Call& c, const mx::array& a) {
  Arrays indices = c.arrays(1);
  if (indices.empty() || indices.size() > a.ndim()) {
    c.refuse(1, "from 1 to " + std::to_string(a.ndim()) + " arrays of indices");
  }
  for (size_t axis = 0; axis < indices.size(); ++axis) {
    indices[axis] = bound_indices(c, indices[axis], a.shape(axis));
  }
  return mx::broadcast_arrays(indices, c.stream());
}

std::vector<int> leading_axes(size_t count) {
  std::vector<int> axes(count);
  for (size_t axis = 0; axis < count; ++axis) {
    axes[axis] = static_cast<int>(axis);
  }
  return axes;
}

mx::array gather(const Call& c) {
  const auto a = c.array(0);
  const Arrays indices = read_indices(c, a);
  mx::Shape sizes = a.shape();
  std::vector<int> gathered;
  for (size_t axis = 0; axis < indices.size(); ++axis) {
    sizes[axis] = 1;
    gathered.push_back(static_cast<int>(indices[0].ndim() + axis));
  }
  const auto taken = mx::gather(a, indices, leading_axes(indices.size()), sizes, c.stream());
  return mx::squeeze(taken, gathered, c.stream());
}

mx::array scatter(const Call& c) {
  const auto a = c.array(0);
  const Arrays indices = read_indices(c, a);
  if (a.size() == 0) {
    return a; // MLX's kernel divides by the size of a slice
  }
  // What gather would give, with a dimension of 1 for each indexed axis.
  mx::Shape shape = indices[0].shape();
  shape.insert(shape.end(), a.shape().begin() + indices.size(), a.shape().end());
  auto updates = mx::broadcast_to(c.array(2), shape, c.stream());
  shape = indices[0].shape();
  shape.insert(shape.end(), indices.size(), 1);
  shape.insert(shape.end(), a.shape().begin() + indices.size(), a.shape().end());
  updates = mx::reshape(updates, shape, c.stream());
  const auto axes = leading_axes(indices.size());
  const std::string& mode = c.text(3);
  if (mode == "set") {
    return mx::scatter(a, indices, updates, axes, c.stream());
  }
  if (mode == "add") {
    return mx::scatter_add(a, indices, updates, axes, c.stream());
  }
  if (mode == "multiply") {
    return mx::scatter_prod(a, indices, updates, axes, c.stream());
  }
  if (mode == "maximum") {
    return mx::scatter_max(a, indices, updates, axes, c.stream());
  }
  if (mode == "minimum") {
    return mx::scatter_min(a, indices, updates, axes, c.stream());
  }
  c.refuse("expected mode set, add, multiply, maximum or minimum, came '" + mode + "'.");
}

// MLX's GPU kernels write no elements of 8 bytes.
bool has_wide_elements(const Call& c) {
  return c.array(0).itemsize() == 8;
}

mx::array take(const Call& c) {
  auto a = c.array(0);
  int axis = 0;
  if (c.is_none(2)) {
    a = mx::reshape(a, {-1}, c.stream());
  } else {
    axis = mx::normalize_axis_index(c.integer(2), a.ndim(), "[take] ");
  }
  const int size = a.shape(axis);
  if (!c.is_number(1)) {
    return mx::take(a, bound_indices(c, c.array(1), size), axis, c.stream());
  }
  const int index = c.integer(1);
  if (index < -size || index >= size) {
    c.refuse(
        "expected an index of an axis of size " + std::to_string(size) + ", came " +
        std::to_string(index) + ".");
  }
  return mx::take(a, index, axis, c.stream());
}

mx::array take_along_axis(const Call& c) {
  auto a = c.array(0);
  int axis = 0;
  if (c.is_none(2)) {
    a = mx::reshape(a, {-1}, c.stream());
  } else {
    axis = mx::normalize_axis_index(c.integer(2), a.ndim(), "[take_along_axis] ");
  }
  return mx::take_along_axis(a, bound_indices(c, c.array(1), a.shape(axis)), axis, c.stream());
}

mx::array put_along_axis(const Call& c) {
  const auto a = c.array(0);
  const bool whole = c.is_none(3);
  const auto into = whole ? mx::reshape(a, {-1}, c.stream()) : a;
  const int axis =
      whole ? 0 : mx::normalize_axis_index(c.integer(3), a.ndim(), "[put_along_axis] ");
  const auto indices = bound_indices(c, c.array(1), into.shape(axis));
  const auto result = mx::put_along_axis(into, indices, c.array(2), axis, c.stream());
  return whole ? mx::reshape(result, a.shape(), c.stream()) : result;
}

} // namespace

Rows indexing_functions() {
  return {
      {"indexing.slice", 4, slice},
      {"indexing.slice_update", 5, slice_update},
      {"indexing.gather", 2, gather, INDICES},
      {"indexing.scatter", 4, scatter, INDICES, has_wide_elements},
      {"diag", 2, [](const Call& c) { return mx::diag(c.array(0), c.integer(1), c.stream()); }},
      {"diagonal", 4,
       [](const Call& c) {
         return mx::diagonal(c.array(0), c.integer(1), c.integer(2), c.integer(3), c.stream());
       }},
      {"put_along_axis", 4, put_along_axis, INDICES},
      {"slice", 4, slice_at, INDICES},
      {"slice_update", 4, slice_update_at, INDICES},
      {"take", 3, take, INDICES},
      {"take_along_axis", 3, take_along_axis, INDICES},
  };
}

} // namespace mlx_coverage
