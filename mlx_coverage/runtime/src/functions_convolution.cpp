// Convolutions.
#include "functions.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "mlx/backend/cuda/cuda.h"
#include "process.h"

namespace mlx_coverage {

namespace {

std::pair<int, int> to_pair(const std::array<int, 2>& values) {
  return {values[0], values[1]};
}

std::tuple<int, int, int> to_triple(const std::array<int, 3>& values) {
  return {values[0], values[1], values[2]};
}

// MLX computes with the sizes that dilation and padding give in 32 bits.
void expect_spans(
    const Call& c,
    const std::vector<int>& low,
    const std::vector<int>& high,
    const std::vector<int>& kernel_dilation,
    const std::vector<int>& input_dilation) {
  for (const int stride : c.one_or_more(2)) {
    if (stride > 1 << 24) { // MLX multiplies strides in 32 bits, and divides by the product
      c.refuse("expected strides of at most 2^24.");
    }
  }
  const auto input = c.array(0);
  const auto weight = c.array(1);
  if (input.ndim() < 3 || weight.ndim() != input.ndim()) {
    return; // MLX refuses it
  }
  const auto at = [](const std::vector<int>& values, size_t axis) -> int64_t {
    return values[values.size() == 1 ? 0 : axis];
  };
  __int128 elements = input.shape(0);
  elements *= input.shape(-1);
  for (size_t axis = 0; axis + 2 < input.ndim(); ++axis) {
    for (const auto& values : {low, high, kernel_dilation, input_dilation}) {
      if (values.size() != 1 && values.size() != input.ndim() - 2) {
        return;
      }
    }
    const int64_t window = 1 + (weight.shape(axis + 1) - 1) * at(kernel_dilation, axis);
    const int64_t line = 1 + (input.shape(axis + 1) - 1) * at(input_dilation, axis) +
        std::abs(at(low, axis)) + std::abs(at(high, axis));
    // What a transposed convolution adds on either side is less than the window.
    if (line + 2 * window > std::numeric_limits<int>::max()) {
      c.refuse("expected padding and dilation that give sizes of 32 bits.");
    }
    elements *= std::max<int64_t>(line, 0);
  }
  if (elements * input.itemsize() > Process::get().max_array_bytes()) {
    c.refuse(
        "needs memory for the padded input above the limit of " +
        std::to_string(Process::get().max_array_bytes()) + " bytes (max_array_bytes).");
  }
}

int at_least(const Call& c, size_t i, int least) {
  return c.spatial<1>(i, least)[0];
}

mx::array conv1d(const Call& c) {
  expect_spans(c, c.one_or_more(3), c.one_or_more(3), c.one_or_more(4), {1});
  return mx::conv1d(
      c.array(0), c.array(1), at_least(c, 2, 1), at_least(c, 3, 0), at_least(c, 4, 1),
      at_least(c, 5, 1), c.stream());
}

mx::array conv2d(const Call& c) {
  expect_spans(c, c.one_or_more(3), c.one_or_more(3), c.one_or_more(4), {1});
  return mx::conv2d(
      c.array(0), c.array(1), to_pair(c.spatial<2>(2, 1)), to_pair(c.spatial<2>(3, 0)),
      to_pair(c.spatial<2>(4, 1)), at_least(c, 5, 1), c.stream());
}

mx::array conv3d(const Call& c) {
  expect_spans(c, c.one_or_more(3), c.one_or_more(3), c.one_or_more(4), {1});
  return mx::conv3d(
      c.array(0), c.array(1), to_triple(c.spatial<3>(2, 1)), to_triple(c.spatial<3>(3, 0)),
      to_triple(c.spatial<3>(4, 1)), at_least(c, 5, 1), c.stream());
}

mx::array conv_transpose1d(const Call& c) {
  expect_spans(c, c.one_or_more(3), c.one_or_more(5), c.one_or_more(4), c.one_or_more(2));
  return mx::conv_transpose1d(
      c.array(0), c.array(1), at_least(c, 2, 1), at_least(c, 3, 0), at_least(c, 4, 1),
      at_least(c, 5, 0), at_least(c, 6, 1), c.stream());
}

mx::array conv_transpose2d(const Call& c) {
  expect_spans(c, c.one_or_more(3), c.one_or_more(5), c.one_or_more(4), c.one_or_more(2));
  return mx::conv_transpose2d(
      c.array(0), c.array(1), to_pair(c.spatial<2>(2, 1)), to_pair(c.spatial<2>(3, 0)),
      to_pair(c.spatial<2>(4, 1)), to_pair(c.spatial<2>(5, 0)), at_least(c, 6, 1), c.stream());
}

mx::array conv_transpose3d(const Call& c) {
  expect_spans(c, c.one_or_more(3), c.one_or_more(5), c.one_or_more(4), c.one_or_more(2));
  return mx::conv_transpose3d(
      c.array(0), c.array(1), to_triple(c.spatial<3>(2, 1)), to_triple(c.spatial<3>(3, 0)),
      to_triple(c.spatial<3>(4, 1)), to_triple(c.spatial<3>(5, 0)), at_least(c, 6, 1), c.stream());
}

std::vector<int> positive(const Call& c, size_t i) {
  auto values = c.one_or_more(i);
  for (const int value : values) {
    if (value < 1) {
      c.refuse(i, "ints from 1 up");
    }
  }
  return values;
}

// MLX's CUDA kernels give other numbers for a dilated input (docs/findings).
bool is_dilated_on_cuda(const Call& c) {
  const auto dilation = c.one_or_more(5);
  return mx::cu::is_available() &&
      std::any_of(dilation.begin(), dilation.end(), [](int d) { return d > 1; });
}

mx::array conv_general(const Call& c) {
  std::vector<int> low;
  std::vector<int> high;
  if (c.is_list(3) && !c.items(3).empty() && c.items(3)[0].tag == Tag::list) {
    const auto sides = c.integer_lists(3);
    if (sides.size() != 2) {
      c.refuse(3, "an int, a list of ints, or two lists of ints");
    }
    low = sides[0];
    high = sides[1];
  } else {
    low = high = c.one_or_more(3);
  }
  const auto dilation = positive(c, 5);
  expect_spans(c, low, high, positive(c, 4), dilation);
  return mx::conv_general(
      c.array(0), c.array(1), positive(c, 2), low, high, positive(c, 4), dilation,
      at_least(c, 6, 1), c.flag(7), c.stream());
}

// numpy.convolve: the longer input slides under the reversed shorter one.
mx::array convolve(const Call& c) {
  auto input = c.array(0);
  auto filter = c.array(1);
  if (input.ndim() != 1 || filter.ndim() != 1 || input.size() == 0 || filter.size() == 0) {
    c.refuse("expected two 1-d arrays that are not empty.");
  }
  if (input.size() < filter.size()) {
    std::swap(input, filter);
  }
  const std::string& mode = c.text(2);
  const int size = filter.shape(0);
  int low = 0;
  int high = 0;
  if (mode == "full") {
    low = high = size - 1;
  } else if (mode == "same") {
    low = size / 2;
    high = (size - 1) / 2;
  } else if (mode != "valid") {
    c.refuse("expected mode full, same or valid, came '" + mode + "'.");
  }
  const auto s = c.stream();
  return mx::flatten(
      mx::conv_general(
          mx::reshape(input, {1, -1, 1}, s), mx::reshape(filter, {1, -1, 1}, s), {1}, {low}, {high},
          {1}, {1}, 1,
          /* flip= */ true, s),
      s);
}

} // namespace

Rows convolution_functions() {
  return {
      {"conv1d", 6, conv1d},
      {"conv2d", 6, conv2d},
      {"conv3d", 6, conv3d},
      {"conv_general", 8, conv_general, nullptr, is_dilated_on_cuda},
      {"conv_transpose1d", 7, conv_transpose1d},
      {"conv_transpose2d", 7, conv_transpose2d},
      {"conv_transpose3d", 7, conv_transpose3d},
      {"convolve", 3, convolve},
  };
}

} // namespace mlx_coverage
