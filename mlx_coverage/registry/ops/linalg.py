"""Linear algebra of float32 matrices, which MLX runs through LAPACK on the CPU.

`torch.linalg.inv` and its like look whether LAPACK succeeded, and raise where it did not; the
delegate fails alike, at run time. Calls that an entry declines become torch's `_ex` forms: the
check has an effect, for which ExecuTorch has no instruction.
"""

import torch

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Rank
from mlx_coverage.registry.samples import Choice, draw, tensor
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("linalg")
_FLOAT32 = frozenset({torch.float32})
_FLAGS = Choice((True, False))
_SIDES = tensor("*B", "N", "K", low=-4, high=4)


def _matrices(*arguments):
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


def _transpose(matrices):
    return mx.swapaxes(matrices, -1, -2)


def _align(a, b):
    """Both over one batch: torch broadcasts the dimensions before the last two."""
    if list(a.shape[:-2]) == list(b.shape[:-2]):
        return a, b
    ones = [mx.zeros_like(mx.sum(x, axis=[-2, -1], keepdims=True)) for x in (a, b)]
    return a + ones[1], b + ones[0]


def _solve_triangular(a, b, upper):
    a, b = _align(a, b)
    return mx.linalg.solve_triangular(a, b, upper=upper)


def _mark_diagonal(a):
    size = mx.arange(0, a.shape[-1])
    return mx.expand_dims(size, 0) == mx.expand_dims(size, 1)


@family.op(
    aten.linalg_inv.default, samples=_draw("regular", "A"), rules=_matrices("A"), whole=True
)
def inv(A):
    """linalg_inv(Tensor A) -> Tensor"""
    return mx.linalg.inv(A)


@family.decomposition(aten.linalg_inv.default)
def inv_without_check(A):
    """The inverse of each matrix; of a singular one, what LAPACK leaves."""
    return aten.linalg_inv_ex.default(A)[0]


@family.op(
    aten.linalg_solve.default,
    samples=_draw("regular", "A", B=_SIDES, left=_FLAGS),
    rules=[*_matrices("A"), Dtype("B", _FLOAT32), NonEmpty("B")],
    whole=True,
)
def solve(A, B, *, left=True):
    """linalg_solve(Tensor A, Tensor B, *, bool left=True) -> Tensor"""
    # torch's own rule of what is a vector, or a batch of them.
    if B.ndim == 1 or (B.ndim == A.ndim - 1 and list(B.shape) == list(A.shape[:-1])):
        a, b = _align(A, mx.expand_dims(B, -1))
        return mx.squeeze(mx.linalg.solve(a, b), -1)
    if left:
        return mx.linalg.solve(*_align(A, B))
    return _transpose(mx.linalg.solve(*_align(_transpose(A), _transpose(B))))


@family.decomposition(aten.linalg_solve.default)
def solve_without_check(A, B, *, left=True):
    """X of `A @ X == B` (`X @ A == B` where not `left`)."""
    return aten._linalg_solve_ex.default(A, B, left=left)[0]


@family.op(
    aten.linalg_cholesky.default,
    samples=_draw("definite", "self", upper=_FLAGS),
    rules=_matrices("self"),
    whole=True,
)
def cholesky(self, *, upper=False):
    """linalg_cholesky(Tensor self, *, bool upper=False) -> Tensor"""
    return mx.linalg.cholesky(self, upper=upper)


@family.decomposition(aten.linalg_cholesky.default)
def cholesky_without_check(self, *, upper=False):
    """The triangular factor of each positive definite matrix."""
    return aten.linalg_cholesky_ex.default(self, upper=upper)[0]


@family.op(
    aten.cholesky_inverse.default,
    samples=_draw("definite", "self", upper=_FLAGS),
    rules=_matrices("self"),
    whole=True,
)
def cholesky_inverse(self, upper=False):
    """cholesky_inverse(Tensor self, bool upper=False) -> Tensor"""
    return mx.linalg.cholesky_inv(self, upper=upper)


@family.op(
    aten.cholesky_solve.default,
    samples=_draw("definite", "input2", self=_SIDES, upper=_FLAGS),
    rules=_matrices("self", "input2"),
    whole=True,
)
def cholesky_solve(self, input2, upper=False):
    """cholesky_solve(Tensor self, Tensor input2, bool upper=False) -> Tensor"""
    lower = _transpose(input2) if upper else input2
    return _solve_triangular(_transpose(lower), _solve_triangular(lower, self, False), True)


@family.op(
    aten.linalg_solve_triangular.default,
    samples=_draw("definite", "self", B=_SIDES, upper=_FLAGS, left=Choice((True,)),
                  unitriangular=_FLAGS),
    rules=_matrices("self", "B"),
    whole=True,
)  # fmt: skip
def solve_triangular(self, B, *, upper, left=True, unitriangular=False):
    """linalg_solve_triangular(Tensor self, Tensor B, *, bool upper, bool left=True, bool unitriangular=False) -> Tensor"""  # noqa: E501
    a = mx.where(_mark_diagonal(self), 1.0, self) if unitriangular else self
    if left:
        return _solve_triangular(a, B, upper)
    return _transpose(_solve_triangular(_transpose(a), _transpose(B), not upper))


@family.op(
    aten.triangular_solve.default,
    samples=_draw("definite", "A", self=_SIDES, upper=_FLAGS, transpose=_FLAGS,
                  unitriangular=_FLAGS),
    rules=_matrices("self", "A"),
    whole=True,
)  # fmt: skip
def triangular_solve(self, A, upper=True, transpose=False, unitriangular=False):
    """triangular_solve(Tensor self, Tensor A, bool upper=True, bool transpose=False, bool unitriangular=False) -> (Tensor solution, Tensor cloned_coefficient)"""  # noqa: E501
    a = mx.where(_mark_diagonal(A), 1.0, A) if unitriangular else A
    a, upper = (_transpose(a), not upper) if transpose else (a, upper)
    return _solve_triangular(a, self, upper), _align(A, self)[0]


@family.op(
    aten.linalg_det.default, samples=_draw("regular", "A"), rules=_matrices("A"), whole=True
)
def det(A):
    """linalg_det(Tensor A) -> Tensor"""
    return mx.linalg.det(A)


@family.op(
    aten.linalg_slogdet.default, samples=_draw("regular", "A"), rules=_matrices("A"), whole=True
)
def slogdet(A):
    """linalg_slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)"""
    return mx.linalg.slogdet(A)


@family.decomposition(aten.logdet.default)
def logdet(self):
    """The logarithm of a determinant, NaN where that is negative."""
    sign, logarithm = aten.linalg_slogdet.default(self)
    return torch.where(sign < 0, torch.nan, logarithm)


@family.decomposition(aten.linalg_matrix_power.default, aten.matrix_power.default)
def matrix_power(self, n):
    """Products of halves, of the inverse where `n` is negative."""
    base = aten.linalg_inv.default(self) if n < 0 else self
    if n == 0:
        return torch.eye(self.shape[-1], dtype=self.dtype, device=self.device).expand(self.shape)
    result = None
    for digit in bin(abs(n))[:1:-1].rstrip("b"):
        if digit == "1":
            result = base if result is None else result @ base
        base = base @ base
    return result


@family.decomposition(aten.inverse.default)
def inverse(self):
    """The older name."""
    return aten.linalg_inv.default(self)


@family.decomposition(aten.cholesky.default)
def older_cholesky(self, upper=False):
    """The older name."""
    return aten.linalg_cholesky.default(self, upper=upper)


@family.decomposition(aten.det.default)
def older_det(self):
    """The older name."""
    return aten.linalg_det.default(self)


@family.decomposition(aten.slogdet.default)
def older_slogdet(self):
    """The older name."""
    return aten.linalg_slogdet.default(self)
