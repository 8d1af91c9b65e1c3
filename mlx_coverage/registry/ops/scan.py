"""Scans: cumulative sums, products and extremes along one axis."""

import torch

from mlx_coverage.registry.dtypes import ANY, COMPLEX, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import INFINITE_PRODUCT
from mlx_coverage.registry.ops.operands import convert_dtype, widen_half
from mlx_coverage.registry.rules import ResultDtype
from mlx_coverage.registry.shapes import along, normalize_dim
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("scan")


_WIDE_PRODUCTS = "torch's CPU kernel scans in float64, which MLX has on no GPU"


def _scan(function, x, dim):
    """A scan along `dim`, also of a tensor without dimensions, which is its own scan."""
    return function(x, dim) if x.ndim > 0 else x


@family.op(aten.cumsum.default, dtypes=ANY | COMPLEX, rules=[ResultDtype(ANY | COMPLEX)])
def cumsum(self, dim, *, result_dtype):
    return _scan(mx.cumsum, widen_half(convert_dtype(self, result_dtype)), dim)


@family.op(
    aten.cumprod.default,
    dtypes=ANY | COMPLEX,
    rules=[ResultDtype(ANY | COMPLEX)],
    limitations=(
        Limitation(
            "products that leave float32's range stay infinite, and come back in torch",
            _WIDE_PRODUCTS,
            avoids="overflow",
        ),
        Limitation(
            "products that fall below float32's range and then meet an infinity are NaN, "
            "and infinite in torch",
            _WIDE_PRODUCTS,
            FLOAT,
            avoids="inf",
        ),
        INFINITE_PRODUCT,
        Limitation(
            "NaN in one part of the first complex element stays in that part; torch's is in both",
            "torch multiplies the element by the 1 that it starts from",
            COMPLEX,
            avoids="nan",
        ),
    ),
    whole=True,
)
def cumprod(self, dim, *, result_dtype):
    return _scan(mx.cumprod, widen_half(convert_dtype(self, result_dtype)), dim)


@family.op(aten.logcumsumexp.default, dtypes=FLOAT, whole=True)
def logcumsumexp(self, dim):
    return _scan(mx.logcumsumexp, mx.astype(self, mx.float32), dim)


def _scan_extreme(function, x, dim):
    """Running extremes, and where the last of equal ones was seen; NaN wins."""
    if x.ndim == 0:
        return x, mx.zeros((), mx.int64)
    # MLX's scans of halves lose NaN.
    x = widen_half(x)
    running = function(x, dim)
    axis = normalize_dim(dim, x.ndim)
    positions = along(mx.arange(0, x.shape[axis], 1, mx.int64), axis, x.ndim)
    seen = mx.where((x == running) | mx.isnan(x), positions, 0)
    return running, mx.cummax(seen, dim)


@family.op(aten.cummax.default, dtypes=ANY, whole=True)
def cummax(self, dim):
    return _scan_extreme(mx.cummax, self, dim)


@family.op(aten.cummin.default, dtypes=ANY, whole=True)
def cummin(self, dim):
    return _scan_extreme(mx.cummin, self, dim)
