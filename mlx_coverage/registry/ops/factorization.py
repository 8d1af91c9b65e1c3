"""Factors of float32 matrices, which MLX computes through LAPACK on the CPU, and what they give.

Of eigenvectors and singular vectors many are right: MLX's are other ones than torch's.
"""

import torch

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.linalg import FLAGS, accept_matrices, transpose_matrices
from mlx_coverage.registry.rules import OneOf, Static
from mlx_coverage.registry.samples import Choice, draw, tensor
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("factorization")


@family.op(
    aten.linalg_qr.default,
    samples=draw({"*B": (1, 3), "M": (1, 6), "N": (1, 6)}, {"*B": (0, 2)},
                 A=tensor("*B", "M", "N", low=-4, high=4), mode=Choice(("reduced", "r"))),
    rules=[*accept_matrices("A"), OneOf("mode", ("reduced", "r"))],
    whole=True,
)  # fmt: skip
def qr(A, mode="reduced"):
    q, r = mx.linalg.qr(A)
    return (q if mode == "reduced" else mx.zeros([0], mx.float32)), r


@family.op(
    aten._linalg_eigh.default,
    samples=draw({"*B": (1, 3), "N": (1, 6)}, {"*B": (0, 2)},
                 A=tensor("*B", "N", "N", low=-4, high=4), UPLO=Choice(("L", "U")),
                 compute_v=FLAGS),
    rules=accept_matrices("A"),
    whole=True,
)  # fmt: skip
def eigh(A, UPLO="L", compute_v=True):
    if compute_v:
        return mx.linalg.eigh(A, UPLO=UPLO)
    return mx.linalg.eigvalsh(A, UPLO=UPLO), mx.zeros([0], mx.float32)


@family.op(
    aten._linalg_svd.default,
    samples=draw({"*B": (1, 3), "M": (1, 6), "N": (1, 6)}, {"*B": (0, 2)},
                 A=tensor("*B", "M", "N", low=-4, high=4), full_matrices=FLAGS,
                 compute_uv=FLAGS),
    rules=[*accept_matrices("A"), Static("A", -2), OneOf("driver", (None,))],
    whole=True,
)  # fmt: skip
def svd(A, full_matrices=False, compute_uv=True):
    if not compute_uv:
        empty = mx.zeros([0], mx.float32)
        return empty, mx.linalg.svd(A, compute_uv=False), empty
    rows, columns = A.shape[-2:]
    if full_matrices or rows == columns:
        return tuple(mx.linalg.svd(A))
    if rows < columns:
        u, s, vh = svd(transpose_matrices(A))
        return transpose_matrices(vh), s, transpose_matrices(u)
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


# Terms of the series for a norm up to 2, where the next is below float32's rounding.
_ORDER = 16
# More would be for a norm of 2 ** 24, whose exponential overflows, or has no digit right.
_SQUARINGS = 23


@family.decomposition(aten.linalg_matrix_exp.default)
def matrix_exp(self):
    """The exponential by Taylor's series of the matrix scaled down, and squaring of the result."""
    norm = self.abs().sum(-2).amax(-1)
    squarings = torch.ceil(torch.log2(norm.clamp(min=2.0)) - 1).clamp(max=_SQUARINGS)
    scaled = self * torch.exp2(-squarings)[..., None, None]
    identity = torch.eye(self.shape[-1], dtype=self.dtype, device=self.device)
    result = identity
    for order in range(_ORDER, 0, -1):
        result = identity + scaled @ result / order
    for count in range(_SQUARINGS):
        more = (squarings > count)[..., None, None]
        result = torch.where(more, result @ result, result)
    return result
