// Fused functions: the device picks its kernel when the graph is built.
#include "functions.h"

#include "accumulation.h"
#include "bounds.h"

namespace mlx_coverage {

namespace {

bool has_long_rows(const Call& c, const mx::array& x) {
  return x.ndim() > 0 && is_long(c, x, {-1});
}

// `x` over the root of the mean of its squares.
mx::array normalize(const Call& c, const mx::array& x, float eps) {
  const auto squares = mean(c, mx::square(x, c.stream()), {-1}, true);
  const auto shifted = mx::add(squares, mx::array(eps), c.stream());
  return mx::multiply(x, mx::rsqrt(shifted, c.stream()), c.stream());
}

mx::array rms_norm(const Call& c) {
  const auto x = c.array(0);
  const auto weight = c.maybe_array(1);
  const auto eps = static_cast<float>(c.real(2));
  const auto wide = mx::astype(x, mx::float32, c.stream());
  if (!has_long_rows(c, wide)) {
    return mx::fast::rms_norm(x, weight, eps, c.stream());
  }
  const auto normal = mx::astype(normalize(c, wide, eps), x.dtype(), c.stream());
  return weight ? mx::multiply(normal, *weight, c.stream()) : normal;
}

mx::array layer_norm(const Call& c) {
  const auto x = c.array(0);
  const auto weight = c.maybe_array(1);
  const auto bias = c.maybe_array(2);
  const auto eps = static_cast<float>(c.real(3));
  const auto wide = mx::astype(x, mx::float32, c.stream());
  if (!has_long_rows(c, wide)) {
    return mx::fast::layer_norm(x, weight, bias, eps, c.stream());
  }
  const auto centred = mx::subtract(wide, mean(c, wide, {-1}, true), c.stream());
  auto normal = mx::astype(normalize(c, centred, eps), x.dtype(), c.stream());
  normal = weight ? mx::multiply(normal, *weight, c.stream()) : normal;
  return bias ? mx::add(normal, *bias, c.stream()) : normal;
}

// CUDA refuses to launch a kernel over nothing.
bool is_empty(const Call& c) {
  return c.array(0).size() == 0;
}

mx::array rope(const Call& c) {
  const auto x = c.array(0);
  const int dims = c.integer(1);
  if (dims < 2 || dims % 2 != 0 || x.ndim() == 0 || dims > x.shape(-1)) {
    c.refuse(1, "an even int from 2 to the size of the last dimension");
  }
  return mx::fast::rope(
      x, dims, c.flag(2), c.maybe_real(3), static_cast<float>(c.real(4)), c.array(5),
      c.maybe_array(6), c.stream());
}

mx::array attention(const Call& c) {
  const auto scale = static_cast<float>(c.real(3));
  std::string mode;
  std::optional<mx::array> mask;
  if (c.is_text(4)) {
    mode = c.text(4);
    if (mode != "causal") {
      c.refuse("expected mask None, 'causal' or an array, came '" + mode + "'.");
    }
  } else {
    mask = c.maybe_array(4);
  }
  const auto query = c.array(0);
  if (mode == "causal" && query.ndim() == 4 && query.shape(2) == 1) {
    mode = ""; // the last query sees every key, and MLX has faster kernels without a mask
  }
  // On a CPU MLX has no fused kernel, and would round the scores of halves.
  const auto widen = [&](const mx::array& a) {
    const bool is_real = mx::issubdtype(a.dtype(), mx::floating);
    return c.on_cpu() && is_real ? mx::astype(a, mx::float32, c.stream()) : a;
  };
  const auto widen_any = [&](std::optional<mx::array> a) { return a ? widen(*a) : a; };
  const auto result = mx::fast::scaled_dot_product_attention(
      widen(query), widen(c.array(1)), widen(c.array(2)), scale, mode, widen_any(mask),
      widen_any(c.maybe_array(5)), c.flag(6), c.stream());
  return mx::astype(result, query.dtype(), c.stream());
}

mx::array cross_entropy(const Call& c) {
  const auto logits = c.array(0);
  if (logits.ndim() == 0) {
    c.refuse("expected logits of one dimension at least.");
  }
  const auto targets = bound_indices(c, c.array(1), logits.shape(-1));
  return mx::fast::cross_entropy(logits, targets, c.stream());
}

Arrays gated_delta_update(const Call& c) {
  return mx::fast::gated_delta_update(
      c.array(0), c.array(1), c.array(2), c.array(3), c.array(4), c.maybe_array(5),
      c.maybe_array(6), c.stream());
}

} // namespace

Rows fast_functions() {
  return {
      {"fast.cross_entropy", 2, cross_entropy, INDICES},
      {"fast.gated_delta_update", 7, gated_delta_update},
      {"fast.layer_norm", 4, layer_norm, nullptr, is_empty},
      {"fast.rms_norm", 3, rms_norm, nullptr, is_empty},
      {"fast.rope", 7, rope},
      {"fast.scaled_dot_product_attention", 7, attention},
  };
}

} // namespace mlx_coverage
