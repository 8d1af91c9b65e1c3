"""Special functions that MLX has not, as Chebyshev series.

The coefficients are those of the polynomial that meets torch's float64 function at the
Chebyshev nodes; each entry names where its substitution comes from.
"""

import math
from functools import cache

import torch

from mlx_coverage.registry.dtypes import ANY, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype
from mlx_coverage.registry.samples import binary
from mlx_coverage.registry.spec import Family, Promotion

aten = torch.ops.aten
family = Family("special")


@cache
def _fit(function, degree):
    """Chebyshev coefficients of a function of [-1, 1], a float64 tensor to another."""
    count = degree + 1
    angles = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)
    values = function(torch.cos(angles))
    waves = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * angles)
    first, *rest = (waves @ values * (2 / count)).tolist()
    return [first / 2, *rest]


def _sum_series(coefficients, t):
    """Clenshaw's recurrence."""
    ahead, beyond = 0.0, 0.0
    for coefficient in reversed(coefficients[1:]):
        ahead, beyond = 2 * t * ahead - beyond + coefficient, ahead
    return t * ahead - beyond + coefficients[0]


def _place_tail(x):
    return (x - 3.75) / (x + 3.75)


def _describe_tail(t):
    x = 3.75 * (1 + t) / (1 - t)
    return (1 + 2 * x) * torch.special.erfcx(x)


def _erfcx_of_positive(x):
    """exp(x * x) * erfc(x) for 0 <= x.

    Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in
    0 <= x < infinity", Mathematics of Computation 36 (1981).
    """
    t = mx.where(mx.isinf(x), 1.0, _place_tail(x))
    return _sum_series(_fit(_describe_tail, 20), t) / (1 + 2 * x)


def _erfc(x):
    x = mx.astype(x, mx.float32)
    size = mx.abs(x)
    tail = mx.exp(-x * x) * _erfcx_of_positive(size)
    return mx.where(x < 0, 2 - tail, tail)


def _erf(x):
    # MLX's own on a CPU is off by 2 % near 0 and by 2e-7 near 1. Taylor's series near 0.
    x = mx.astype(x, mx.float32)
    square, series = x * x, 1.0
    for divisor in (-1320 / 216, -216 / 42, -42 / 10, -10 / 3, -3.0):
        series = 1.0 + series * square / divisor
    far = mx.sign(x) * (1 - _erfc(mx.abs(x)))
    return mx.where(mx.abs(x) < 0.5, 1.1283791670955126 * (x * series), far)


def _erfcx(x):
    x = mx.astype(x, mx.float32)
    tail = _erfcx_of_positive(mx.abs(x))
    return mx.where(x < 0, 2 * mx.exp(x * x) - tail, tail)


def _bessel(x, function, power):
    """exp(-|x|) times a modified Bessel function of |x|, divided by |x| to the power below 8.

    Clenshaw, "Chebyshev series for mathematical functions", NPL Mathematical Tables 5
    (1962): in x on [0, 8], in 1 / x beyond.
    """

    def describe_near(t):
        size = 4 * (t + 1)
        return function(size) / size**power

    def describe_far(t):
        size = 16 / (t + 1)
        return function(size) * size.sqrt()

    size = mx.abs(x)
    near = _sum_series(_fit(describe_near, 22), mx.minimum(size, 8.0) / 4 - 1)
    large = mx.maximum(size, 8.0)
    far = _sum_series(_fit(describe_far, 10), 16 / large - 1) / mx.sqrt(large)
    return mx.where(size <= 8, near * size if power else near, far)


def _i0e(x):
    return _bessel(mx.astype(x, mx.float32), torch.special.i0e, 0)


def _i1e(x):
    x = mx.astype(x, mx.float32)
    return mx.sign(x) * _bessel(x, torch.special.i1e, 1)


def _unscale(function):
    def unscaled(x):
        # In two steps: the exponential overflows before the result does.
        root = mx.exp(0.5 * mx.abs(mx.astype(x, mx.float32)))
        return root * function(x) * root

    return unscaled


family.unary(
    ANY,
    {
        aten.erf.default: _erf,
        aten.erfc.default: _erfc,
        aten.i0.default: _unscale(_i0e),
        aten.special_i0e.default: _i0e,
        aten.special_i1.default: _unscale(_i1e),
        aten.special_i1e.default: _i1e,
    },
    promotion=Promotion.INT_TO_FLOAT,
    whole=True,
)


family.unary(
    ANY - {torch.float16, torch.bfloat16},  # as torch
    {aten.special_erfcx.default: _erfcx},
    promotion=Promotion.INT_TO_FLOAT,
    whole=True,
)


@family.op(
    aten.nextafter.default,
    samples=binary(),
    rules=[Dtype(name, FLOAT - {torch.float16}) for name in ("self", "other")],
    promotion=Promotion.DEFAULT,
    whole=True,
)
def nextafter(self, other):
    self, other = mx.broadcast_arrays(self, other)
    # IEEE 754 orders the numbers of one sign as it orders their bits; beside 0 lies the
    # number whose only bits are the lowest and the sign.
    integer, lowest = (mx.int32, -(2**31)) if self.dtype == mx.float32 else (mx.int16, -(2**15))
    step = mx.where((self < other) == (self > 0), mx.array(1, integer), mx.array(-1, integer))
    smallest = mx.where(other > 0, mx.array(1, integer), mx.array(lowest + 1, integer))
    bits = mx.where(self == 0, smallest, mx.view(self, integer) + step)
    return mx.where(
        mx.isnan(self) | mx.isnan(other),
        mx.nan,
        mx.where(self == other, other, mx.view(bits, self.dtype)),
    )


family.gap(
    "MLX has no gamma functions",
    aten.digamma.default,
    aten.lgamma.default,
    aten.polygamma.default,
)
