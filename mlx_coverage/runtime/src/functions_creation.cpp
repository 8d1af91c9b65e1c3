// Functions that make arrays out of sizes and numbers.
#include "functions.h"

#include "tensors.h"

namespace mlx_coverage {

namespace {

// Flattens a nested list of numbers in row-major order and finds its shape.
void flatten(
    const Call& c,
    const Argument& value,
    size_t depth,
    mx::Shape& shape,
    std::vector<Number>& numbers) {
  if (value.tag != Tag::list) {
    if (depth != shape.size()) {
      c.refuse(0, "lists of one depth");
    }
    numbers.push_back(c.number(value, 0));
    return;
  }
  const int size = static_cast<int>(value.items.size());
  if (depth == shape.size() && numbers.empty()) {
    shape.push_back(size);
  } else if (depth >= shape.size() || shape[depth] != size) {
    c.refuse(0, "lists of one length at each depth");
  }
  for (const auto& item : value.items) {
    flatten(c, item, depth + 1, shape, numbers);
  }
}

mx::array array(const Call& c) {
  mx::Shape shape;
  std::vector<Number> numbers;
  if (c.is_list(0)) {
    shape.push_back(static_cast<int>(c.items(0).size()));
    for (const auto& item : c.items(0)) {
      flatten(c, item, 1, shape, numbers);
    }
  } else {
    numbers.push_back(c.number(0));
  }
  size_t size = 1;
  for (const int dim : shape) {
    size *= dim;
  }
  if (size != numbers.size()) {
    c.refuse(0, "lists of one length at each depth");
  }
  return make_array(numbers, std::move(shape), c.dtype(1));
}

mx::array arange(const Call& c) {
  const Number start = c.number(0);
  const Number stop = c.number(1);
  const Number step = c.is_none(2) ? Number::of(int64_t{1}) : c.number(2);
  const bool is_real = start.is_real || stop.is_real || step.is_real;
  const mx::Dtype dtype = c.maybe_dtype(3).value_or(is_real ? mx::float32 : mx::int32);
  return mx::arange(start.as_real(), stop.as_real(), step.as_real(), dtype, c.stream());
}

mx::array eye(const Call& c) {
  const int rows = c.size(0);
  return mx::eye(
      rows, c.is_none(1) ? rows : c.size(1), c.integer(2), c.maybe_dtype(3).value_or(mx::float32),
      c.stream());
}

mx::array tri(const Call& c) {
  const int rows = c.size(0);
  return mx::tri(
      rows, c.is_none(1) ? rows : c.size(1), c.integer(2), c.maybe_dtype(3).value_or(mx::float32),
      c.stream());
}

mx::array full(const Call& c) {
  return mx::full(c.shape(0), c.array(1, c.maybe_dtype(2)), c.stream());
}

mx::array full_like(const Call& c) {
  const auto a = c.array(0);
  const mx::Dtype dtype = c.maybe_dtype(2).value_or(a.dtype());
  return mx::full_like(a, c.array(1, dtype), dtype, c.stream());
}

mx::array identity(const Call& c) {
  return mx::identity(c.size(0), c.maybe_dtype(1).value_or(mx::float32), c.stream());
}

mx::array linspace(const Call& c) {
  return mx::linspace(
      c.real(0), c.real(1), c.size(2), c.flag(3), c.maybe_dtype(4).value_or(mx::float32),
      c.stream());
}

template <mx::array (*function)(const mx::Shape&, mx::Dtype, mx::StreamOrDevice)>
mx::array filled(const Call& c) {
  return function(c.shape(0), c.maybe_dtype(1).value_or(mx::float32), c.stream());
}

template <mx::array (*function)(const mx::array&, mx::Dtype, mx::StreamOrDevice)>
mx::array filled_like(const Call& c) {
  const auto a = c.array(0);
  return function(a, c.maybe_dtype(1).value_or(a.dtype()), c.stream());
}

template <mx::array (*function)(int, mx::StreamOrDevice)>
mx::array window(const Call& c) {
  return function(c.size(0), c.stream());
}

} // namespace

Rows creation_functions() {
  return {
      {"array", 2, array},
      {"arange", 4, arange},
      {"bartlett", 1, window<mx::bartlett>},
      {"blackman", 1, window<mx::blackman>},
      {"empty", 2, filled<mx::zeros>},
      {"empty_like", 2, filled_like<mx::zeros_like>},
      {"eye", 4, eye},
      {"full", 3, full},
      {"full_like", 3, full_like},
      {"hamming", 1, window<mx::hamming>},
      {"hanning", 1, window<mx::hanning>},
      {"identity", 2, identity},
      {"linspace", 5, linspace},
      {"ones", 2, filled<mx::ones>},
      {"ones_like", 2, filled_like<mx::ones_like>},
      {"tri", 4, tri},
      {"tril", 2, [](const Call& c) { return mx::tril(c.array(0), c.integer(1), c.stream()); }},
      {"triu", 2, [](const Call& c) { return mx::triu(c.array(0), c.integer(1), c.stream()); }},
      {"zeros", 2, filled<mx::zeros>},
      {"zeros_like", 2, filled_like<mx::zeros_like>},
  };
}

} // namespace mlx_coverage
