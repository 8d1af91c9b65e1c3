"""Upsampling of images: nearest, nearest-exact and bilinear, each axis by itself.

`pixel_shuffle`, `pixel_unshuffle`, `upsample_bilinear2d.default` (of which export makes
arithmetic before anybody can ask for it) and other dimensions arrive decomposed.
"""

from fractions import Fraction
from functools import partial
from typing import Any

import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.reasons import DYNAMIC_ARGUMENT
from mlx_coverage.registry.rules import Dtype, NonEmpty, Predicate, Rank
from mlx_coverage.registry.samples import Choice, Sizes, draw, tensor
from mlx_coverage.registry.shapes import along
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("upsampling")
_BYTES = frozenset({torch.uint8})


def _resize(size, factor):
    """The output size of a scale factor; whole factors work on dynamic sizes."""
    return size * int(factor) if float(factor).is_integer() else int(size * factor)


def _step(size, count, factor):
    """Input elements per output element, as a float32 array."""
    if factor is not None and factor > 0:
        return mx.array(1.0 / factor, mx.float32)
    return mx.array(size, mx.float32) / mx.array(count, mx.float32)


def _invert(factor):
    """1 / factor as a fraction whose terms leave room in 64 bits."""
    fraction = Fraction(factor).limit_denominator(2**15)
    return fraction.denominator, fraction.numerator


def _nearest(x, axis, count, factor, offset):
    size = x.shape[axis]
    if offset == 0 and count in (size, 2 * size):  # torch then overlooks the factor
        factor = None
    places = (mx.arange(0, count, 1, mx.float32) + offset) * _step(size, count, factor)
    index = mx.astype(mx.floor(places), mx.int32)
    return mx.take(x, mx.minimum(index, size - 1), axis)


def _linear(x, axis, count, factor, align_corners):
    size = x.shape[axis]
    if count == size:
        return x + x * 0  # infinities become NaN, as in torch's sum of both neighbours
    # Positions as fractions of integers, so that the weights are exact.
    index = mx.arange(0, count, 1, mx.int64)
    if align_corners:
        above, below = index * (size - 1), 1 if count == 1 else count - 1
    else:
        step, unit = (size, count) if factor is None else _invert(factor)
        above, below = mx.maximum((index * 2 + 1) * step - unit, 0), 2 * unit
    low = mx.minimum(above // below, size - 1)
    high = mx.minimum(low + 1, size - 1)
    weight = mx.astype(above - low * below, mx.float32) / mx.array(below, mx.float32)
    weight = along(mx.minimum(weight, 1.0), axis, x.ndim)
    return mx.take(x, low, axis) * (1 - weight) + mx.take(x, high, axis) * weight


def _is_sized(call):
    """Whether a dynamic size is never multiplied by a fraction."""
    factors = call.arguments.get("scale_factors")
    return (
        not factors
        or all(float(factor).is_integer() for factor in factors)
        or all(isinstance(size, int) for size in call.tensors("input")[0].shape[-2:])
    )


_SIZED = Predicate(_is_sized, DYNAMIC_ARGUMENT, "whole scale factors where sizes are dynamic")
_SIZES = {"N": (1, 2), "H": (2, 6), "W": (2, 6)}
_FACTORS = Choice(((2.0, 2.0), (1.0, 3.0), (1.5, 0.75), (2.3, 1.1)))
_VEC: dict[str, Any] = {
    "input": tensor("N", "C", "H", "W"),
    "output_size": Choice((None,)),
    "scale_factors": _FACTORS,
}
_DEFAULT: dict[str, Any] = {
    "self": tensor("N", "C", "H", "W"),
    "output_size": Sizes(2, low=1, high=9),
}


def _upsample(x, output_size, factors, function):
    for axis, factor in zip((3, 2), reversed(factors or (None, None)), strict=True):
        count = output_size[axis - 2] if output_size else _resize(x.shape[axis], factor)
        x = function(x, axis, count, factor)
    return x


def _declare_nearest(packet, offset):
    nearest = partial(_nearest, offset=offset)

    def upsample_vec(input, output_size, scale_factors):
        return _upsample(input, output_size, scale_factors, nearest)

    def upsample(self, output_size, scales_h=None, scales_w=None):
        return _upsample(self, output_size, (scales_h, scales_w), nearest)

    for implementation, target, name, arguments, sized in (
        (upsample_vec, packet.vec, "input", _VEC, [_SIZED]),
        (upsample, packet.default, "self", _DEFAULT, []),
    ):
        family.add(
            target,
            implementation,
            samples=draw(sizes=_SIZES, **arguments),
            rules=[Dtype(name, FLOAT | _BYTES), NonEmpty(name), Rank(name, 4, 4), *sized],
            whole=True,
        )


_declare_nearest(aten.upsample_nearest2d, 0.0)
_declare_nearest(aten._upsample_nearest_exact2d, 0.5)


@family.op(
    aten.upsample_bilinear2d.vec,
    samples=draw(sizes=_SIZES, **_VEC, align_corners=Choice((False, True))),
    rules=[Dtype("input", FLOAT), NonEmpty("input"), Rank("input", 4, 4), _SIZED],
    whole=True,
)
def upsample_bilinear2d_vec(input, output_size, align_corners, scale_factors):
    """upsample_bilinear2d(Tensor input, SymInt[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor"""  # noqa: E501
    linear = partial(_linear, align_corners=align_corners)
    return _upsample(input, output_size, scale_factors, linear)
