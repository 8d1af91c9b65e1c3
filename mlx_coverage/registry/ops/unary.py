"""Elementwise functions of one tensor.

Left to torch's decompositions, which are as exact and as fast: celu, selu, relu6, threshold,
prelu, glu, logit, log_sigmoid_forward, hardshrink, softshrink, nan_to_num, frac, sgn, sinc,
square, isposinf, isneginf, deg2rad, rad2deg, special_entr, special_log_ndtr.
"""

import torch

from mlx_coverage.registry.dtypes import ANY, BOOL, COMPLEX, FLOAT, INTEGER, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import INFINITE_OPERAND, ZERO_DIVISOR
from mlx_coverage.registry.rules import OneOf
from mlx_coverage.registry.samples import Choice, Integer, Number, elementwise
from mlx_coverage.registry.spec import Family, Limitation, Promotion, Tolerance

aten = torch.ops.aten
family = Family("unary")


def in_float32(function):
    """`function` of one array computed in float32 and left there: results are cast later."""

    def widened(x):
        return function(mx.astype(x, mx.float32))

    widened.__name__ = getattr(function, "__name__", "widened")
    return widened


def _sigmoid(x):
    if x.dtype == mx.complex64:
        return mx.reciprocal(1 + mx.exp(mx.negative(x)))
    return mx.sigmoid(mx.astype(x, mx.float32))  # its exp overflows a half


family.unary(
    ANY,
    {
        aten.acos.default: mx.arccos,
        aten.acosh.default: mx.arccosh,
        aten.asin.default: mx.arcsin,
        aten.asinh.default: mx.arcsinh,
        aten.atan.default: mx.arctan,
        aten.atanh.default: mx.arctanh,
        aten.expm1.default: mx.expm1,
    },
    promotion=Promotion.INT_TO_FLOAT,
)
family.unary(
    ANY | COMPLEX,
    {
        aten.cos.default: mx.cos,
        aten.cosh.default: mx.cosh,
        aten.exp.default: mx.exp,
        aten.log.default: mx.log,
        aten.log10.default: mx.log10,
        aten.log2.default: mx.log2,
        aten.sinh.default: mx.sinh,
        aten.sqrt.default: mx.sqrt,
        aten.tan.default: mx.tan,
        aten.tanh.default: mx.tanh,
    },
    promotion=Promotion.INT_TO_FLOAT,
)
family.unary(
    ANY | COMPLEX,
    {
        aten.log1p.default: mx.log1p,
        aten.rsqrt.default: mx.rsqrt,
    },
    promotion=Promotion.INT_TO_FLOAT,
    limitations=(INFINITE_OPERAND,),
)
family.unary(
    ANY | COMPLEX,
    {aten.reciprocal.default: mx.reciprocal},
    promotion=Promotion.INT_TO_FLOAT,
    limitations=(INFINITE_OPERAND, ZERO_DIVISOR),
)
family.unary(
    ANY | COMPLEX,
    {aten.sigmoid.default: _sigmoid},
    promotion=Promotion.INT_TO_FLOAT,
    limitations=(
        INFINITE_OPERAND,
        Limitation(
            "where the exponential of a complex number overflows, the result is 0; torch's is NaN",
            "torch divides by an infinite number as in school",
            COMPLEX,
            avoids="overflow",
        ),
    ),
)
# ExecuTorch takes ops that are neither core nor decomposed only where a delegate keeps them whole.
family.unary(
    ANY,
    {aten.erfinv.default: mx.erfinv, aten.exp2.default: lambda x: mx.power(2.0, x)},
    promotion=Promotion.INT_TO_FLOAT,
    whole=True,
)
family.unary(
    ANY | COMPLEX,
    {aten.sin.default: mx.sin},
    promotion=Promotion.INT_TO_FLOAT,
    limitations=(
        Limitation(
            "the sine of -0.0 is 0.0",
            "MLX's vectorised sine on a CPU drops the sign",
            device="cpu",
            avoids="negative_zero",
        ),
    ),
)
family.unary(NUMBER | COMPLEX, {aten.abs.default: mx.abs, aten.neg.default: mx.negative})
family.unary(
    NUMBER,
    {
        aten.ceil.default: mx.ceil,
        aten.floor.default: mx.floor,
        aten.relu.default: lambda x: mx.maximum(0, x),
        aten.round.default: mx.round,
        aten.trunc.default: mx.trunc,
    },
)
family.unary(
    ANY | COMPLEX,
    {
        aten.isinf.default: mx.isinf,
        aten.isnan.default: mx.isnan,
        aten.logical_not.default: mx.logical_not,
    },
)
family.unary(ANY, {aten.sign.default: mx.sign})
family.unary(ANY | COMPLEX, {aten.isfinite.default: mx.isfinite}, whole=True)
family.unary(INTEGER | BOOL, {aten.bitwise_not.default: mx.bitwise_invert})
family.unary(
    FLOAT,
    {
        aten.hardsigmoid.default: in_float32(lambda x: _relu6(x + 3) / 6),
        aten.hardswish.default: in_float32(lambda x: x * _relu6(x + 3) / 6),
    },
    whole=True,
)
family.unary(
    FLOAT,
    {
        aten.mish.default: in_float32(lambda x: x * mx.tanh(mx.logaddexp(x, 0.0))),
        aten.silu.default: in_float32(lambda x: x * mx.sigmoid(x)),
    },
    tolerance=Tolerance(2e-6, 1.1e-36, "below -87 the factor of x is subnormal, and flushed"),
    whole=True,
)


def _relu6(x):
    return mx.minimum(mx.maximum(x, 0), 6)


@family.op(aten.signbit.default, dtypes=ANY, whole=True)
def signbit(self):
    # The bit itself: comparisons would lose it for -0.0 and NaN.
    if self.dtype == mx.float32:
        self = mx.view(self, mx.int32)
    elif self.dtype in (mx.float16, mx.bfloat16):
        self = mx.view(self, mx.int16)
    return self < 0


@family.op(
    aten.gelu.default,
    samples=elementwise(approximate=Choice(("none", "tanh"))),
    dtypes=FLOAT,
    rules=[OneOf("approximate", ("none", "tanh"))],
    tolerance=Tolerance(
        2e-6,
        6e-7,
        "1 + erf cancels below zero: half of |x| < 5.5 times the 2e-7 by which MLX's erf is off",
    ),
    whole=True,
)
def gelu(self, *, approximate="none"):
    x = mx.astype(self, mx.float32)
    if approximate == "tanh":
        cubic = x + 0.044715 * (x * x * x)
        return 0.5 * x * (1 + mx.tanh(0.7978845608028654 * cubic))
    return 0.5 * x * (1 + mx.erf(x * 0.7071067811865476))


@family.op(aten.leaky_relu.default, samples=elementwise(negative_slope=Number()), dtypes=FLOAT)
def leaky_relu(self, negative_slope=0.01):
    x = mx.astype(self, mx.float32)
    return mx.where(x > 0, x, x * negative_slope)


@family.decomposition(aten.rrelu.default)
def rrelu(self, lower=0.125, upper=1 / 3, training=False, generator=None):
    """Outside of training the slope is the mean of its bounds, and nothing is drawn."""
    if training:
        return NotImplemented
    return torch.nn.functional.leaky_relu(self, (lower + upper) / 2)


@family.decomposition(aten.rrelu_with_noise_functional.default)
def rrelu_with_noise(self, noise, lower=0.125, upper=1 / 3, training=False, generator=None):
    """The same; the noise is returned as it was given."""
    result = rrelu(self, lower, upper, training)
    return result if training else (result, noise)


@family.op(
    aten.hardtanh.default,
    samples=elementwise(min_val=Choice((-1, -0.5)), max_val=Choice((1, 6))),
    dtypes=FLOAT,
)
def hardtanh(self, min_val=-1, max_val=1):
    return mx.minimum(max_val, mx.maximum(min_val, self))


@family.op(
    aten.elu.default,
    samples=elementwise(
        alpha=Choice((1, 0.5, 1.7)), scale=Choice((1, 1.05)), input_scale=Choice((1, 0.5))
    ),
    dtypes=FLOAT,
)
def elu(self, alpha=1, scale=1, input_scale=1):
    x = mx.astype(self, mx.float32)
    return mx.where(x < 0, mx.expm1(x * input_scale) * (alpha * scale), x * scale)


@family.op(
    aten.softplus.default,
    samples=elementwise(beta=Number(0.25, 4), threshold=Number(0, 30)),
    dtypes=FLOAT,
    whole=True,
)
def softplus(self, beta=1, threshold=20):
    x = mx.astype(self, mx.float32)
    scaled = x * beta
    return mx.where(scaled > threshold, x, mx.log1p(mx.exp(scaled)) / beta)


@family.op(
    aten.round.decimals,
    samples=elementwise(decimals=Integer(-3, 3)),
    dtypes=FLOAT,
    whole=True,
)
def round_decimals(self, *, decimals):
    if decimals == 0:
        return mx.round(self)
    x, power = mx.astype(self, mx.float32), 10.0 ** abs(decimals)
    return mx.round(x * power) / power if decimals > 0 else mx.round(x / power) * power


family.gap("the inverse normal distribution is not in MLX", aten.special_ndtri.default)
