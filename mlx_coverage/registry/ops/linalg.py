"""Linear algebra: torch's own forms without the checks that ExecuTorch cannot lower.

`torch.linalg.inv` and its like look at run time whether LAPACK succeeded. That check has an
effect, for which ExecuTorch has no instruction; the `_ex` forms give the same numbers without it.
"""

import torch

from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("linalg")


@family.decomposition(aten.linalg_inv.default, aten.inverse.default)
def inv(A):
    """The inverse of each matrix; of a singular one, what LAPACK leaves."""
    return aten.linalg_inv_ex.default(A)[0]


@family.decomposition(aten.linalg_solve.default)
def solve(A, B, *, left=True):
    """X of `A @ X == B` (`X @ A == B` where not `left`)."""
    return aten._linalg_solve_ex.default(A, B, left=left)[0]


@family.decomposition(aten.linalg_cholesky.default)
def cholesky(self, *, upper=False):
    """The triangular factor of each positive definite matrix."""
    return aten.linalg_cholesky_ex.default(self, upper=upper)[0]
