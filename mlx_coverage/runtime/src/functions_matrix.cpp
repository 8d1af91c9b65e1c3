// Matrix products, plain, gathered and quantized.
#include "functions.h"

#include "bounds.h"

namespace mlx_coverage {

namespace {

// MLX divides by what it is given here.
struct Packing {
  std::optional<int> group_size;
  std::optional<int> bits;
};

Packing read_packing(const Call& c, size_t i) {
  const Packing packing{c.maybe_integer(i), c.maybe_integer(i + 1)};
  if (packing.group_size.value_or(16) < 16 || packing.group_size.value_or(16) > 128) {
    c.refuse(i, "None or a group size from 16 to 128");
  }
  if (packing.bits.value_or(4) < 2 || packing.bits.value_or(4) > 8) {
    c.refuse(i + 1, "None or from 2 to 8 bits");
  }
  return packing;
}

using Product = mx::array (*)(const mx::array&, const mx::array&, mx::StreamOrDevice);

template <Product function>
mx::array product(const Call& c) {
  return function(c.array(0), c.array(1), c.stream());
}

mx::array addmm(const Call& c) {
  const auto alpha = static_cast<float>(c.real(3));
  const auto beta = static_cast<float>(c.real(4));
  return mx::addmm(c.array(0), c.array(1), c.array(2), alpha, beta, c.stream());
}

mx::array block_masked_mm(const Call& c) {
  return mx::block_masked_mm(
      c.array(0), c.array(1), c.integer(2), c.maybe_array(3), c.maybe_array(4), c.maybe_array(5),
      c.stream());
}

// Optional indices of the matrices in the batch dimensions of `operand`.
std::optional<mx::array> batch_indices(const Call& c, size_t i, const mx::array& operand) {
  if (c.is_none(i)) {
    return std::nullopt;
  }
  size_t matrices = 1;
  for (int axis = 0; axis < static_cast<int>(operand.ndim()) - 2; ++axis) {
    matrices *= operand.shape(axis);
  }
  return bound_indices(c, c.array(i), static_cast<int>(matrices));
}

mx::array gather_mm(const Call& c) {
  const auto a = c.array(0);
  const auto b = c.array(1);
  return mx::gather_mm(a, b, batch_indices(c, 2, a), batch_indices(c, 3, b), c.flag(4), c.stream());
}

mx::array gather_qmm(const Call& c) {
  const auto packing = read_packing(c, 7);
  const auto x = c.array(0);
  const auto w = c.array(1);
  return mx::gather_qmm(
      x, w, c.array(2), c.maybe_array(3), batch_indices(c, 4, x), batch_indices(c, 5, w), c.flag(6),
      packing.group_size, packing.bits, c.text(9), c.maybe_array(10), c.flag(11), c.stream());
}

mx::array gather_qqmm(const Call& c) {
  const auto packing = read_packing(c, 5);
  const auto x = c.array(0);
  const auto w = c.array(1);
  return mx::gather_qqmm(
      x, w, c.maybe_array(2), batch_indices(c, 3, x), batch_indices(c, 4, w), packing.group_size,
      packing.bits, c.text(7), c.maybe_array(8), c.maybe_array(9), c.flag(10), c.stream());
}

mx::array quantized_matmul(const Call& c) {
  const auto packing = read_packing(c, 5);
  const auto x = c.array(0);
  // MLX computes in the dtype of the scales. Its CPU kernel sums in it, too, and must have them
  // wide; a GPU sums halves in float32, and is fast where the scales are in the dtype of `x`.
  const bool narrow = !c.on_cpu() && x.itemsize() == 2;
  const auto read = [&](size_t i) { return narrow ? c.narrow_constant(i, x.dtype()) : c.array(i); };
  const auto scales = read(2);
  const auto biases = c.is_none(3) ? std::nullopt : std::optional(read(3));
  // MLX casts what differs on the thread's default stream, and a GPU waits for another stream.
  const bool is_float = mx::issubdtype(scales.dtype(), mx::floating);
  const auto dtype = is_float ? mx::promote_types(x.dtype(), scales.dtype()) : x.dtype();
  const auto cast = [&](const mx::array& a) {
    return is_float ? mx::astype(a, dtype, c.stream()) : a;
  };
  const auto result = mx::quantized_matmul(
      cast(x), c.array(1), cast(scales), biases ? std::optional(cast(*biases)) : std::nullopt,
      c.flag(4), packing.group_size, packing.bits, c.text(7), c.stream());
  // MLX's CPU kernel divides by the number of results.
  return result.size() == 0 ? mx::zeros(result.shape(), result.dtype(), c.stream()) : result;
}

Arrays quantize(const Call& c) {
  const auto packing = read_packing(c, 1);
  return mx::quantize(
      c.array(0), packing.group_size, packing.bits, c.text(3), c.maybe_array(4), c.stream());
}

mx::array dequantize(const Call& c) {
  const auto packing = read_packing(c, 3);
  return mx::dequantize(
      c.array(0), c.array(1), c.maybe_array(2), packing.group_size, packing.bits, c.text(5),
      c.maybe_array(6), c.maybe_dtype(7), c.stream());
}

mx::array qqmm(const Call& c) {
  const auto packing = read_packing(c, 3);
  return mx::qqmm(
      c.array(0), c.array(1), c.maybe_array(2), packing.group_size, packing.bits, c.text(5),
      c.maybe_array(6), c.maybe_array(7), c.stream());
}

mx::array segmented_mm(const Call& c) {
  const auto a = c.array(0);
  auto segments = c.array(2);
  if (c.on_cpu() && a.ndim() > 0) {
    const auto end = mx::array(static_cast<uint32_t>(a.shape(-1)), mx::uint32);
    segments = mx::minimum(mx::astype(segments, mx::uint32, c.stream()), end, c.stream());
  }
  return mx::segmented_mm(a, c.array(1), segments, c.stream());
}

mx::array tensordot(const Call& c) {
  if (!c.is_list(2)) {
    return mx::tensordot(c.array(0), c.array(1), c.size(2), c.stream());
  }
  const auto axes = c.integer_lists(2);
  if (axes.size() != 2) {
    c.refuse(2, "an int or two lists of ints");
  }
  return mx::tensordot(c.array(0), c.array(1), axes[0], axes[1], c.stream());
}

mx::array trace(const Call& c) {
  const auto a = c.array(0);
  if (c.is_none(4)) {
    return mx::trace(a, c.integer(1), c.integer(2), c.integer(3), c.stream());
  }
  return mx::trace(a, c.integer(1), c.integer(2), c.integer(3), c.dtype(4), c.stream());
}

} // namespace

Rows matrix_functions() {
  return {
      {"addmm", 5, addmm},
      {"block_masked_mm", 6, block_masked_mm},
      {"dequantize", 8, dequantize},
      {"einsum", 2, [](const Call& c) { return mx::einsum(c.text(0), c.arrays(1), c.stream()); }},
      {"from_fp8", 2,
       [](const Call& c) { return mx::from_fp8(c.array(0), c.dtype(1), c.stream()); }},
      {"gather_mm", 5, gather_mm, INDICES},
      {"gather_qmm", 12, gather_qmm, INDICES},
      {"gather_qqmm", 11, gather_qqmm, INDICES},
      {"hadamard_transform", 2,
       [](const Call& c) {
         return mx::hadamard_transform(c.array(0), c.maybe_real(1), c.stream());
       }},
      {"inner", 2, product<mx::inner>},
      {"kron", 2, product<mx::kron>},
      {"matmul", 2, product<mx::matmul>},
      {"outer", 2, product<mx::outer>},
      {"qqmm", 8, qqmm},
      {"quantize", 5, quantize},
      {"quantized_matmul", 8, quantized_matmul},
      {"segmented_mm", 3, segmented_mm},
      {"tensordot", 3, tensordot},
      {"to_fp8", 1, [](const Call& c) { return mx::to_fp8(c.array(0), c.stream()); }},
      {"trace", 5, trace},
      {"vecdot", 3,
       [](const Call& c) { return mx::vecdot(c.array(0), c.array(1), c.integer(2), c.stream()); }},
  };
}

} // namespace mlx_coverage
