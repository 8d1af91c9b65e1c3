"""Linear algebra of float32 matrices, which MLX runs through LAPACK on the CPU.

`torch.linalg.inv` and its like look whether LAPACK succeeded, and raise where it did not; the
delegate fails alike, at run time. Calls that an entry declines become torch's `_ex` forms: the
check has an effect, for which ExecuTorch has no instruction.
"""

import torch

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Range, Rank, Static
from mlx_coverage.registry.samples import Choice, Integer, draw, tensor
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


family.gap(
    "its `info` says whether LAPACK succeeded, which MLX does not tell; call the form without "
    "`_ex` on float32 matrices, which fails at run time where LAPACK does",
    aten.linalg_inv_ex.default,
    aten._linalg_solve_ex.default,
    aten.linalg_cholesky_ex.default,
)
family.gap(
    "MLX keeps the factors and pivots of an LU decomposition otherwise than torch; call "
    "torch.linalg.solve",
    aten.linalg_lu.default,
    aten.linalg_lu_factor_ex.default,
    aten.linalg_lu_solve.default,
)
family.gap("complex eigenvalues may come in any order", aten.linalg_eig.default)


@family.op(aten.linalg_inv.default, samples=_draw("regular", "A"), rules=_matrices("A"), whole=True)
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


@family.op(aten.linalg_det.default, samples=_draw("regular", "A"), rules=_matrices("A"), whole=True)
def det(A):
    """linalg_det(Tensor A) -> Tensor"""
    return mx.linalg.det(A)


@family.op(
    aten.linalg_slogdet.default, samples=_draw("regular", "A"), rules=_matrices("A"), whole=True
)
def slogdet(A):
    """linalg_slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)"""
    return mx.linalg.slogdet(A)


@family.op(
    aten.logdet.default, samples=_draw("regular", "self"), rules=_matrices("self"), whole=True
)
def logdet(self):
    """logdet(Tensor self) -> Tensor"""
    sign, logarithm = mx.linalg.slogdet(self)
    return mx.where(sign < 0, mx.nan, logarithm)


@family.op(
    aten.linalg_matrix_power.default,
    samples=_draw("regular", "self", n=Integer(-5, -1)),
    rules=[*_matrices("self"), Range("n", None, -1)],
    whole=True,
)
def matrix_power(self, n):
    """linalg_matrix_power(Tensor self, int n) -> Tensor"""
    # Powers that are not negative arrive as torch decomposes them, into products.
    power, result = mx.linalg.inv(self), None
    for digit in reversed(f"{-n:b}"):
        if digit == "1":
            result = power if result is None else mx.matmul(result, power)
        power = mx.matmul(power, power)
    return result


@family.op(
    aten.linalg_qr.default,
    samples=draw({"*B": (1, 3), "M": (1, 6), "N": (1, 6)}, {"*B": (0, 2)},
                 A=tensor("*B", "M", "N", low=-4, high=4), mode=Choice(("reduced", "r"))),
    rules=[*_matrices("A"), OneOf("mode", ("reduced", "r"))],
    whole=True,
)  # fmt: skip
def qr(A, mode="reduced"):
    """linalg_qr(Tensor A, str mode="reduced") -> (Tensor Q, Tensor R)"""
    q, r = mx.linalg.qr(A)
    return (q if mode == "reduced" else mx.zeros([0], mx.float32)), r


@family.op(
    aten._linalg_eigh.default,
    samples=draw({"*B": (1, 3), "N": (1, 6)}, {"*B": (0, 2)},
                 A=tensor("*B", "N", "N", low=-4, high=4), UPLO=Choice(("L", "U")),
                 compute_v=_FLAGS),
    rules=_matrices("A"),
    whole=True,
)  # fmt: skip
def eigh(A, UPLO="L", compute_v=True):
    """_linalg_eigh(Tensor A, str UPLO="L", bool compute_v=True) -> (Tensor eigenvalues, Tensor eigenvectors)"""  # noqa: E501
    if compute_v:
        return mx.linalg.eigh(A, UPLO=UPLO)
    return mx.linalg.eigvalsh(A, UPLO=UPLO), mx.zeros([0], mx.float32)


@family.op(
    aten._linalg_svd.default,
    samples=draw({"*B": (1, 3), "M": (1, 6), "N": (1, 6)}, {"*B": (0, 2)},
                 A=tensor("*B", "M", "N", low=-4, high=4), full_matrices=_FLAGS,
                 compute_uv=_FLAGS),
    rules=[*_matrices("A"), Static("A", -2), OneOf("driver", (None,))],
    whole=True,
)  # fmt: skip
def svd(A, full_matrices=False, compute_uv=True):
    """_linalg_svd(Tensor A, bool full_matrices=False, bool compute_uv=True, *, str? driver=None) -> (Tensor U, Tensor S, Tensor Vh)"""  # noqa: E501
    if not compute_uv:
        empty = mx.zeros([0], mx.float32)
        return empty, mx.linalg.svd(A, compute_uv=False), empty
    rows, columns = A.shape[-2:]
    if full_matrices or rows == columns:
        return tuple(mx.linalg.svd(A))
    if rows < columns:
        u, s, vh = svd(_transpose(A))
        return _transpose(vh), s, _transpose(u)
    # MLX computes the square factors: of a tall matrix only the small one is needed.
    q, r = mx.linalg.qr(A)
    u, s, vh = mx.linalg.svd(r)
    return mx.matmul(q, u), s, vh


def _bound_values(self, values, atol, rtol):
    """Up to where singular values count as zero: torch's default where neither is given.

    `atol` and `rtol` are numbers, or tensors of the batch's shape.
    """
    if rtol is None:
        rtol = torch.finfo(self.dtype).eps * max(self.shape[-2:])
        if isinstance(atol, torch.Tensor):
            rtol = torch.where(atol > 0, 0.0, rtol)
        elif atol:
            rtol = 0.0
    atol, rtol = (x.unsqueeze(-1) if isinstance(x, torch.Tensor) else x for x in (atol, rtol))
    bound = values.amax(-1, keepdim=True) * rtol
    if isinstance(atol, torch.Tensor):
        return torch.maximum(bound, atol)
    return bound.clamp(min=atol) if atol else bound


@family.decomposition(aten.linalg_pinv.atol_rtol_tensor, aten.linalg_pinv.atol_rtol_float)
def pinv(self, *, atol=None, rtol=None, hermitian=False):
    """The pseudoinverse, of the singular values that do not count as zero."""
    if hermitian:
        s, u = aten._linalg_eigh.default(self)
        vh = u.mT
    else:
        u, s, vh = aten._linalg_svd.default(self)
    kept = s.abs() > _bound_values(self, s.abs(), atol, rtol)
    return vh.mT @ (torch.where(kept, s.reciprocal(), 0.0).unsqueeze(-1) * u.mT)


@family.decomposition(aten.linalg_pinv.default, aten.pinverse.default)
def pinv_by_ratio(self, rcond=1e-15, hermitian=False):
    """The pseudoinverse with a tolerance relative to the largest singular value."""
    return pinv(self, atol=0.0, rtol=rcond, hermitian=hermitian)


@family.decomposition(
    aten.linalg_matrix_rank.atol_rtol_tensor, aten.linalg_matrix_rank.atol_rtol_float
)
def matrix_rank(self, *, atol=None, rtol=None, hermitian=False):
    """How many singular values do not count as zero."""
    if hermitian:
        s = aten._linalg_eigh.default(self, compute_v=False)[0].abs()
    else:
        s = aten._linalg_svd.default(self, compute_uv=False)[1]
    return (s > _bound_values(self, s, atol, rtol)).sum(-1)


@family.decomposition(aten.linalg_matrix_rank.default)
def matrix_rank_by_bound(self, tol, hermitian=False):
    """How many singular values are greater than `tol`."""
    return matrix_rank(self, atol=tol, rtol=0.0, hermitian=hermitian)


@family.op(
    aten.inverse.default, samples=_draw("regular", "self"), rules=_matrices("self"), whole=True
)
def inverse(self):
    """inverse(Tensor self) -> Tensor"""
    return inv(self)


@family.op(
    aten.cholesky.default,
    samples=_draw("definite", "self", upper=_FLAGS),
    rules=_matrices("self"),
    whole=True,
)
def older_cholesky(self, upper=False):
    """cholesky(Tensor self, bool upper=False) -> Tensor"""
    return cholesky(self, upper=upper)


@family.op(aten.det.default, samples=_draw("regular", "self"), rules=_matrices("self"), whole=True)
def older_det(self):
    """det(Tensor self) -> Tensor"""
    return det(self)


@family.op(
    aten.slogdet.default, samples=_draw("regular", "self"), rules=_matrices("self"), whole=True
)
def older_slogdet(self):
    """slogdet(Tensor self) -> (Tensor sign, Tensor logabsdet)"""
    return slogdet(self)
