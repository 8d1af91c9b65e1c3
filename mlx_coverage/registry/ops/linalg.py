"""Linear algebra of float32 matrices, which MLX runs through LAPACK on the CPU.

`torch.linalg.inv` and its like look whether LAPACK succeeded, and raise where it did not; the
delegate fails alike, at run time. Calls that an entry declines become torch's `_ex` forms: the
check has an effect, for which ExecuTorch has no instruction.
"""

import torch

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, Range, Rank
from mlx_coverage.registry.samples import Choice, Integer, draw, tensor
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("linalg")
_FLOAT32 = frozenset({torch.float32})
FLAGS = Choice((True, False))
_SIDES = tensor("*B", "N", "K", low=-4, high=4)


def accept_matrices(*arguments):
    """The rules of matrices: float32, with elements."""
    return [
        rule
        for name in arguments
        for rule in (Dtype(name, _FLOAT32), NonEmpty(name), Rank(name, 2))
    ]


def _draw(kind, name, **others):
    """Samples of square matrices of a kind, and of what goes with them."""
    matrices = tensor("*B", "N", "N", matrix=kind, low=-4, high=4)
    sizes, groups = {"N": (1, 6), "K": (1, 4), "*B": (1, 3)}, {"*B": (0, 2)}
    return draw(sizes, groups, **{name: matrices}, **others)


def transpose_matrices(matrices):
    """Matrices with their last two axes exchanged."""
    return mx.swapaxes(matrices, -1, -2)


def _align(a, b):
    """Both over one batch: torch broadcasts the dimensions before the last two."""
    if list(a.shape[:-2]) == list(b.shape[:-2]):
        return a, b
    zeros = [mx.zeros_like(mx.sum(x, axis=[-2, -1], keepdims=True)) for x in (a, b)]
    return a + zeros[1], b + zeros[0]


def _solve_triangular(a, b, upper):
    a, b = _align(a, b)
    return mx.linalg.solve_triangular(a, b, upper=upper)


def _mark_diagonal(a):
    size = mx.arange(0, a.shape[-1])
    return mx.expand_dims(size, 0) == mx.expand_dims(size, 1)


family.gap(
    "its `info` says whether LAPACK succeeded, which MLX does not tell; call the form without "
    "`_ex` on float32 matrices, which fails at run time where LAPACK does",
    aten.linalg_inv_ex.default,
    aten._linalg_solve_ex.default,
    aten.linalg_cholesky_ex.default,
)
family.gap(
    "the factors and pivots of an LU decomposition are not mapped; call torch.linalg.solve or det",
    aten.linalg_lu.default,
    aten.linalg_lu_factor_ex.default,
    aten.linalg_lu_solve.default,
)
family.gap(
    "MLX computes determinants of float32 matrices",
    aten._linalg_det.default,
    aten._linalg_slogdet.default,
)
family.gap("complex eigenvalues may come in any order", aten.linalg_eig.default)


@family.op(
    aten.linalg_inv.default, samples=_draw("regular", "A"), rules=accept_matrices("A"), whole=True
)
def inv(A):
    return mx.linalg.inv(A)


@family.decomposition(aten.linalg_inv.default)
def inv_without_check(A):
    """The inverse of each matrix; of a singular one, what LAPACK leaves."""
    return aten.linalg_inv_ex.default(A)[0]


@family.op(
    aten.linalg_solve.default,
    samples=_draw("regular", "A", B=_SIDES, left=FLAGS),
    rules=[*accept_matrices("A"), Dtype("B", _FLOAT32), NonEmpty("B")],
    whole=True,
)
def solve(A, B, *, left=True):
    # torch's own rule of what is a vector, or a batch of them.
    if B.ndim == 1 or (B.ndim == A.ndim - 1 and list(B.shape) == list(A.shape[:-1])):
        a, b = _align(A, mx.expand_dims(B, -1))
        return mx.squeeze(mx.linalg.solve(a, b), -1)
    if left:
        return mx.linalg.solve(*_align(A, B))
    return transpose_matrices(
        mx.linalg.solve(*_align(transpose_matrices(A), transpose_matrices(B)))
    )


@family.decomposition(aten.linalg_solve.default)
def solve_without_check(A, B, *, left=True):
    """X of `A @ X == B` (`X @ A == B` where not `left`)."""
    return aten._linalg_solve_ex.default(A, B, left=left)[0]


@family.op(
    aten.linalg_cholesky.default,
    samples=_draw("definite", "self", upper=FLAGS),
    rules=accept_matrices("self"),
    whole=True,
)
def cholesky(self, *, upper=False):
    return mx.linalg.cholesky(self, upper=upper)


@family.decomposition(aten.linalg_cholesky.default)
def cholesky_without_check(self, *, upper=False):
    """The triangular factor of each positive definite matrix."""
    return aten.linalg_cholesky_ex.default(self, upper=upper)[0]


@family.op(
    aten.cholesky_inverse.default,
    samples=_draw("definite", "self", upper=FLAGS),
    rules=accept_matrices("self"),
    whole=True,
)
def cholesky_inverse(self, upper=False):
    return mx.linalg.cholesky_inv(self, upper=upper)


@family.op(
    aten.cholesky_solve.default,
    samples=_draw("definite", "input2", self=_SIDES, upper=FLAGS),
    rules=accept_matrices("self", "input2"),
    whole=True,
)
def cholesky_solve(self, input2, upper=False):
    lower = transpose_matrices(input2) if upper else input2
    return _solve_triangular(transpose_matrices(lower), _solve_triangular(lower, self, False), True)


@family.op(
    aten.linalg_solve_triangular.default,
    samples=_draw("definite", "self", B=_SIDES, upper=FLAGS, left=Choice((True,)),
                  unitriangular=FLAGS),
    rules=accept_matrices("self", "B"),
    whole=True,
)  # fmt: skip
def solve_triangular(self, B, *, upper, left=True, unitriangular=False):
    a = mx.where(_mark_diagonal(self), 1.0, self) if unitriangular else self
    if left:
        return _solve_triangular(a, B, upper)
    return transpose_matrices(
        _solve_triangular(transpose_matrices(a), transpose_matrices(B), not upper)
    )


@family.op(
    aten.triangular_solve.default,
    samples=_draw("definite", "A", self=_SIDES, upper=FLAGS, transpose=FLAGS,
                  unitriangular=FLAGS),
    rules=accept_matrices("self", "A"),
    whole=True,
)  # fmt: skip
def triangular_solve(self, A, upper=True, transpose=False, unitriangular=False):
    a = mx.where(_mark_diagonal(A), 1.0, A) if unitriangular else A
    a, upper = (transpose_matrices(a), not upper) if transpose else (a, upper)
    return _solve_triangular(a, self, upper), _align(A, self)[0]


@family.op(
    aten.linalg_det.default, samples=_draw("regular", "A"), rules=accept_matrices("A"), whole=True
)
def det(A):
    return mx.linalg.det(A)


@family.op(
    aten.linalg_slogdet.default,
    samples=_draw("regular", "A"),
    rules=accept_matrices("A"),
    whole=True,
)
def slogdet(A):
    return mx.linalg.slogdet(A)


@family.op(
    aten.logdet.default, samples=_draw("regular", "self"), rules=accept_matrices("self"), whole=True
)
def logdet(self):
    sign, logarithm = mx.linalg.slogdet(self)
    return mx.where(sign < 0, mx.nan, logarithm)


@family.op(
    aten.linalg_matrix_power.default,
    samples=_draw("regular", "self", n=Integer(-5, -1)),
    rules=[*accept_matrices("self"), Range("n", None, -1)],
    whole=True,
)
def matrix_power(self, n):
    return _raise_power(mx.linalg.inv(self), -n, mx.matmul)


@family.decomposition(aten.linalg_matrix_power.default)
def matrix_power_as_products(self, n):
    """Products, which the delegate takes in more dtypes; of negative powers, without the check."""
    if n == 0:
        return torch.eye(self.shape[-1], dtype=self.dtype, device=self.device).expand(self.shape)
    base = aten.linalg_inv_ex.default(self)[0] if n < 0 else self
    return _raise_power(base, abs(n), torch.matmul) if abs(n) > 1 else base.clone()


def _raise_power(base, n, multiply):
    """The product of `n` times `base`, by squares."""
    result = None
    for digit in f"{n:b}":
        result = result if result is None else multiply(result, result)
        if digit == "1":
            result = base if result is None else multiply(result, base)
    return result


@family.op(
    aten.inverse.default,
    samples=_draw("regular", "self"),
    rules=accept_matrices("self"),
    whole=True,
)
def inverse(self):
    return inv(self)


@family.op(
    "aten::cholesky",  # gone in torch 2.14
    samples=_draw("definite", "self", upper=FLAGS),
    rules=accept_matrices("self"),
    whole=True,
)
def older_cholesky(self, upper=False):
    return cholesky(self, upper=upper)


@family.op(
    aten.det.default, samples=_draw("regular", "self"), rules=accept_matrices("self"), whole=True
)
def older_det(self):
    return det(self)


@family.op(
    aten.slogdet.default,
    samples=_draw("regular", "self"),
    rules=accept_matrices("self"),
    whole=True,
)
def older_slogdet(self):
    return slogdet(self)
