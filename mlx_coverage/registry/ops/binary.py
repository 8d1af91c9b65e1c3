"""Functions of two tensors, or of a tensor and a number, and the selections among tensors.

Left to torch's decompositions, which are as exact and as fast: rsub, floor_divide, addcmul,
addcdiv, lerp, xlogy, float_power, clamp_min, clamp_max, isclose, heaviside, masked_fill,
where with scalars.
"""

import math

import torch

from mlx_coverage.registry.dtypes import ANY, BOOL, COMPLEX, FLOAT, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import (
    INEXACT_TERMS,
    INFINITE_OPERAND,
    INFINITE_PRODUCT,
    ZERO_DIVISOR,
)
from mlx_coverage.registry.ops.operands import (
    as_arrays,
    convert,
    converted,
    is_array,
    is_integer,
    of_arrays,
    widen,
    widened,
)
from mlx_coverage.registry.ops.unary import signbit
from mlx_coverage.registry.rules import Dtype, OneOf
from mlx_coverage.registry.samples import (
    BroadcastTensor,
    Choice,
    Number,
    Tensor,
    binary,
    draw,
    elementwise,
)
from mlx_coverage.registry.spec import Family, Promotion

aten = torch.ops.aten
family = Family("binary")


for accepted, function, scalar, tensor in (
    (ANY | COMPLEX, mx.equal, aten.eq.Scalar, aten.eq.Tensor),
    (ANY | COMPLEX, mx.not_equal, aten.ne.Scalar, aten.ne.Tensor),
    (ANY, mx.less, aten.lt.Scalar, aten.lt.Tensor),
    (ANY, mx.less_equal, aten.le.Scalar, aten.le.Tensor),
    (ANY, mx.greater, aten.gt.Scalar, aten.gt.Tensor),
    (ANY, mx.greater_equal, aten.ge.Scalar, aten.ge.Tensor),
):
    row = converted(function)
    family.binary(accepted, {scalar: row, tensor: row}, promotion=Promotion.ALWAYS_BOOL)

family.binary(
    ANY | COMPLEX,
    {aten.mul.Scalar: widened(mx.multiply), aten.mul.Tensor: widened(mx.multiply)},
    limitations=(INFINITE_PRODUCT,),
)
family.binary(ANY, {aten.maximum.default: mx.maximum, aten.minimum.default: mx.minimum})
family.binary(
    ANY | COMPLEX,
    {aten.div.Scalar: widened(mx.divide), aten.div.Tensor: widened(mx.divide)},
    promotion=Promotion.INT_TO_FLOAT,
    limitations=(INFINITE_OPERAND, ZERO_DIVISOR),
)
family.binary(ANY, {aten.atan2.default: mx.arctan2}, promotion=Promotion.INT_TO_FLOAT)
family.binary(
    ANY | COMPLEX,
    {
        aten.logical_and.default: mx.logical_and,
        aten.logical_or.default: mx.logical_or,
        aten.logical_xor.default: lambda a, b: _as_bool(a) != _as_bool(b),
    },
    promotion=None,
)


def _as_bool(x):
    return mx.astype(x, mx.bool_)


def _add_scaled(combine, a, b, alpha):
    if is_array(alpha):  # a complex number
        return combine(*as_arrays(a, b * alpha))
    if alpha == 1:
        return combine(*convert(a, b))
    a, b, alpha = as_arrays(a, b, alpha)
    return combine(a, b * alpha)


@family.op(
    aten.add.Scalar,
    samples=elementwise(other=Number(), alpha=Choice((1, 2, -3))),
    dtypes=ANY | COMPLEX,
    promotion=Promotion.DEFAULT,
    limitations=INEXACT_TERMS,
)
@family.op(
    aten.add.Tensor,
    samples=binary(alpha=Choice((1, 2, -3))),
    dtypes=ANY | COMPLEX,
    promotion=Promotion.DEFAULT,
    limitations=INEXACT_TERMS,
)
def add(self, other, alpha=1):
    return _add_scaled(mx.add, self, other, alpha)


@family.op(
    aten.sub.Scalar,
    samples=elementwise(other=Number(), alpha=Choice((1, 2, -3))),
    dtypes=NUMBER | COMPLEX,
    promotion=Promotion.DEFAULT,
    limitations=INEXACT_TERMS,
)
@family.op(
    aten.sub.Tensor,
    samples=binary(alpha=Choice((1, 2, -3))),
    dtypes=NUMBER | COMPLEX,
    promotion=Promotion.DEFAULT,
    limitations=INEXACT_TERMS,
)
def sub(self, other, alpha=1):
    return _add_scaled(mx.subtract, self, other, alpha)


_MODES = ("trunc", "floor")


@family.op(
    aten.div.Scalar_mode,
    samples=elementwise(other=Number(1, 9), rounding_mode=Choice(_MODES)),
    dtypes=NUMBER,
    rules=[OneOf("rounding_mode", _MODES)],
    promotion=Promotion.DEFAULT,
)
@family.op(
    aten.div.Tensor_mode,
    samples=draw(
        self=BroadcastTensor(("*S",)),
        other=BroadcastTensor(("*S",), low=1, high=9),
        rounding_mode=Choice(_MODES),
    ),
    dtypes=NUMBER,
    rules=[OneOf("rounding_mode", _MODES)],
    promotion=Promotion.DEFAULT,
)
def div(self, other, *, rounding_mode, result_dtype):
    if not is_integer(result_dtype):
        # Halves round at every step, as in torch, but beside a single number.
        single = not is_array(other) or other.ndim == 0
        a, b = as_arrays(*widen(self, other)) if single else (self, other)
        return mx.trunc(a / b) if rounding_mode == "trunc" else _floor_divide(a, b)
    a, b = as_arrays(self, other)
    quotient = mx.floor_divide(a, _avoid_trap(b))
    if a.dtype == mx.uint8:
        return quotient
    quotient = mx.where(b == -1, -a, quotient)
    if rounding_mode == "floor":
        return quotient
    inexact = mx.remainder(a, _avoid_trap(b)) != 0
    return quotient + mx.astype(inexact & ((a < 0) != (b < 0)), a.dtype)


def _floor_divide(a, b):
    # The quotient of the exact remainder: a / b may round up to the next integer.
    remainder = _fmod(a, b)
    borrow = (remainder != 0) & ((b < 0) != (remainder < 0))
    quotient = (a - remainder) / b - mx.astype(borrow, a.dtype)
    below = mx.floor(quotient)
    nearest = below + mx.astype(quotient - below > 0.5, a.dtype)
    return mx.where(b == 0, a / b, mx.where(quotient == 0, 0 * (a / b), nearest))


def _avoid_trap(b):
    # The lowest integer over -1 traps on a CPU. (Zero, an error in torch, fails in the runtime.)
    return b if b.dtype == mx.uint8 else mx.where(b == -1, 1, b)


def _fmod(a, b):
    """Remainder of the division towards zero: exact, with the sign of `a`."""
    if is_integer(a.dtype):
        remainder = mx.remainder(a, _avoid_trap(b))
        return mx.where((remainder != 0) & ((a < 0) != (b < 0)), remainder - b, remainder)
    remainder = mx.remainder(mx.abs(a), mx.abs(b))
    # a * 0 keeps the sign of a zero; it is selected for finite a only.
    return mx.where(remainder == 0, a * 0, mx.where(a < 0, -remainder, remainder))


def _remainder(a, b):
    """Remainder with the sign of `b`."""
    if is_integer(a.dtype):
        return mx.remainder(a, _avoid_trap(b))
    remainder = _fmod(a, b)
    return mx.where((remainder != 0) & ((remainder < 0) != (b < 0)), remainder + b, remainder)


family.binary(
    NUMBER,
    {aten.fmod.Scalar: of_arrays(_fmod), aten.remainder.Scalar: of_arrays(_remainder)},
    samples=elementwise(other=Number(1, 9)),
)
family.binary(
    NUMBER,
    {aten.fmod.Tensor: of_arrays(_fmod), aten.remainder.Tensor: of_arrays(_remainder)},
    samples=draw(self=BroadcastTensor(("*S",)), other=BroadcastTensor(("*S",), low=1, high=9)),
)


@family.op(
    aten.remainder.Scalar_Tensor,
    samples=draw(self=Number(), other=Tensor(("*S",), low=1, high=9)),
    dtypes=NUMBER,
    promotion=Promotion.DEFAULT,
    whole=True,
)
def remainder_of_number(self, other):
    return _remainder(*as_arrays(self, other))


@family.op(
    aten.pow.Scalar,
    samples=draw(self=Number(), exponent=Tensor(("*S",), low=0, high=8)),
    dtypes=NUMBER | COMPLEX,
    promotion=Promotion.DEFAULT,
)
@family.op(
    aten.pow.Tensor_Tensor,
    samples=draw(self=BroadcastTensor(("*S",)), exponent=BroadcastTensor(("*S",))),
    dtypes=NUMBER | COMPLEX,
    promotion=Promotion.DEFAULT,
)
def pow(self, exponent):
    a, b = as_arrays(self, exponent)
    if not is_integer(a.dtype) or a.dtype == mx.uint8:
        return mx.power(a, b)
    # A negative power of an integer is 0, but for 1 and -1.
    unit = mx.where((a == -1) & ((b & 1) != 0), -1, mx.astype(mx.abs(a) == 1, a.dtype))
    return mx.where(b < 0, unit, mx.power(a, mx.maximum(b, 0)))


@family.op(
    aten.pow.Tensor_Scalar,
    samples=elementwise(exponent=Choice((0, 1, 2, 3, 7))),
    dtypes=NUMBER | COMPLEX,
    promotion=Promotion.DEFAULT,
    limitations=(INFINITE_OPERAND,),
)
def pow_of_number(self, exponent):
    x, power = as_arrays(self, exponent)
    if is_array(exponent):  # a complex number
        return mx.power(x, power)
    if exponent in (0, 1):
        return x if exponent else mx.full(x.shape, 1, x.dtype)
    # As torch: the common powers are products and roots, which differ in -inf and -0.0.
    if exponent == 2:
        return mx.square(x)
    if exponent == 3:
        return x * x * x
    if exponent == 0.5 and self.dtype != mx.float16:
        return mx.sqrt(x)
    if exponent == -0.5 and self.dtype != mx.float16:
        return mx.rsqrt(x)
    return mx.power(x, power)


def _ignore_nan(function):
    return lambda a, b: mx.where(mx.isnan(a), b, mx.where(mx.isnan(b), a, function(a, b)))


family.binary(
    ANY,
    {aten.fmax.default: _ignore_nan(mx.maximum), aten.fmin.default: _ignore_nan(mx.minimum)},
    whole=True,  # as all ops here that ExecuTorch neither knows as core nor decomposes
)


def _hypot(a, b):
    a, b = mx.abs(mx.astype(a, mx.float32)), mx.abs(mx.astype(b, mx.float32))
    high, low = mx.maximum(a, b), mx.minimum(a, b)
    ratio = low / mx.where(high == 0, 1, high)  # squares of the operands could overflow
    length = high * mx.sqrt(1 + ratio * ratio)
    return mx.where(mx.isinf(a) | mx.isinf(b), math.inf, length)


def _copysign(a, b):
    negative = signbit(b) if is_array(b) else math.copysign(1, b) < 0
    return mx.where(signbit(a) == negative, a, -a)


family.binary(FLOAT, {aten.hypot.default: _hypot}, whole=True)
family.binary(
    ANY,
    {aten.copysign.Scalar: _copysign, aten.copysign.Tensor: _copysign},
    promotion=Promotion.INT_TO_FLOAT,
    whole=True,
)


@family.op(
    aten.logaddexp2.default,
    samples=binary(),
    dtypes=FLOAT,
    promotion=Promotion.DEFAULT,
    whole=True,
)
def logaddexp2(self, other):
    a, b = mx.astype(self, mx.float32), mx.astype(other, mx.float32)
    larger = mx.maximum(a, b)
    # The difference of two equal infinities is NaN; their sum is that infinity.
    difference = mx.where(a == b, 0, mx.abs(a - b))
    return larger + mx.log1p(mx.exp(difference * -math.log(2))) / math.log(2)


@family.op(
    aten.clamp.Tensor,
    samples=draw(
        self=Tensor(("*S",)),
        min=BroadcastTensor(("*S",)),
        max=BroadcastTensor(("*S",), optional=True),
    ),
    dtypes=NUMBER,
    promotion=Promotion.DEFAULT,
)
@family.op(
    aten.clamp.default,
    samples=elementwise(min=Choice((-3, -1.5, 0, None)), max=Choice((0.5, 4))),
    dtypes=NUMBER,
    promotion=Promotion.DEFAULT,
)
def clamp(self, min=None, max=None):
    if min is not None:
        self = mx.maximum(*convert(min, self))
    return self if max is None else mx.minimum(*convert(max, self))


@family.op(
    aten.where.self,
    samples=draw(
        condition=BroadcastTensor(("*S",), dtype=("bool",)),
        self=BroadcastTensor(("*S",)),
        other=BroadcastTensor(("*S",)),
    ),
    rules=[
        Dtype("condition", BOOL),
        Dtype("self", ANY | COMPLEX),
        Dtype("other", ANY | COMPLEX),
    ],
)
def where(condition, self, other, *, result_dtype):
    return mx.where(condition, mx.astype(self, result_dtype), mx.astype(other, result_dtype))


family.gap(
    "Euclid's algorithm takes a number of steps that depends on the data",
    aten.gcd.default,
    aten.lcm.default,
)
