// Linear algebra of float32 matrices, which MLX has on the CPU only.
#include "functions.h"

namespace mlx_coverage {

namespace {

bool always(const Call&) {
  return true;
}

// MLX divides by the number of elements.
mx::array matrices(const Call& c, size_t i) {
  const auto a = c.array(i);
  if (a.ndim() < 2 || a.size() == 0 || a.dtype() != mx::float32) {
    c.refuse(i, "float32 matrices with elements");
  }
  return a;
}

mx::array square_matrices(const Call& c, size_t i) {
  const auto a = matrices(c, i);
  if (a.shape(-1) != a.shape(-2)) {
    c.refuse(i, "square matrices");
  }
  return a;
}

using Map = mx::array (*)(const mx::array&, mx::StreamOrDevice);

template <Map function>
mx::array map_square(const Call& c) {
  return function(square_matrices(c, 0), c.stream());
}

// Right-hand sides: matrices of as many rows as the square ones, over the same batch.
mx::array right_hand_sides(const Call& c, size_t i, const mx::array& a) {
  const auto b = matrices(c, i);
  const auto batch = [](const mx::array& x) {
    return mx::Shape(x.shape().begin(), x.shape().end() - 2);
  };
  if (b.shape(-2) != a.shape(-1) || batch(b) != batch(a)) {
    c.refuse(i, "matrices of as many rows as argument 0 has, in as large a batch");
  }
  return b;
}

mx::array solve(const Call& c) {
  const auto a = square_matrices(c, 0);
  return mx::linalg::solve(a, right_hand_sides(c, 1, a), c.stream());
}

mx::array solve_triangular(const Call& c) {
  const auto a = square_matrices(c, 0);
  return mx::linalg::solve_triangular(a, right_hand_sides(c, 1, a), c.flag(2), c.stream());
}

// LAPACK stops at the first pivot that is not positive and leaves it; MLX does not look.
mx::array cholesky(const Call& c) {
  const auto s = c.stream();
  const auto factor = mx::linalg::cholesky(square_matrices(c, 0), c.flag(1), s);
  const auto diagonal = mx::diagonal(factor, 0, -2, -1, s);
  c.demand(mx::greater(diagonal, mx::array(0.0f), s));
  return factor;
}

mx::array cholesky_inv(const Call& c) {
  return mx::linalg::cholesky_inv(square_matrices(c, 0), c.flag(1), c.stream());
}

// 'L' or 'U': the triangle that is read.
const std::string& triangle(const Call& c, size_t i) {
  const std::string& name = c.text(i);
  if (name != "L" && name != "U") {
    c.refuse(i, "'L' or 'U'");
  }
  return name;
}

Arrays eigh(const Call& c) {
  const auto [values, vectors] =
      mx::linalg::eigh(square_matrices(c, 0), triangle(c, 1), c.stream());
  return {values, vectors};
}

mx::array eigvalsh(const Call& c) {
  return mx::linalg::eigvalsh(square_matrices(c, 0), triangle(c, 1), c.stream());
}

Arrays qr(const Call& c) {
  const auto [q, r] = mx::linalg::qr(matrices(c, 0), c.stream());
  return {q, r};
}

Arrays svd(const Call& c) {
  return mx::linalg::svd(matrices(c, 0), c.flag(1), c.stream());
}

Arrays slogdet(const Call& c) {
  const auto [sign, logarithm] = mx::linalg::slogdet(square_matrices(c, 0), c.stream());
  return {sign, logarithm};
}

} // namespace

Rows linalg_functions() {
  return {
      {"linalg.cholesky", 2, cholesky, "positive definite matrices", always},
      {"linalg.cholesky_inv", 2, cholesky_inv, nullptr, always},
      {"linalg.det", 1, map_square<mx::linalg::det>, nullptr, always},
      {"linalg.eigh", 2, eigh, nullptr, always},
      {"linalg.eigvalsh", 2, eigvalsh, nullptr, always},
      {"linalg.inv", 1, map_square<mx::linalg::inv>, nullptr, always},
      {"linalg.qr", 1, qr, nullptr, always},
      {"linalg.slogdet", 1, slogdet, nullptr, always},
      {"linalg.solve", 2, solve, nullptr, always},
      {"linalg.solve_triangular", 3, solve_triangular, nullptr, always},
      {"linalg.svd", 2, svd, nullptr, always},
  };
}

} // namespace mlx_coverage
