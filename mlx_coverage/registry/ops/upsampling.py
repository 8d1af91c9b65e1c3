"""Upsampling in one to three dimensions, each axis by itself.

`pixel_shuffle`, `pixel_unshuffle`, `upsample_bilinear2d.default` and other `default` overloads
that are missing here (export makes arithmetic of them before anybody can ask) arrive decomposed.
"""

from functools import cache, partial
from inspect import Parameter, Signature
from typing import Any

import numpy as np
import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.grid_sampling import weigh_cubic
from mlx_coverage.registry.ops.resampling import keys, resample, tent
from mlx_coverage.registry.reasons import DYNAMIC_ARGUMENT
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Predicate, Range, Rank, Rule, Static
from mlx_coverage.registry.samples import Choice, Sizes, draw, tensor
from mlx_coverage.registry.shapes import along, invert_factor, is_same_size, place_outputs
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("upsampling")
_BYTES = frozenset({torch.uint8})
_PLANE = ("H", "W")
_LARGEST = 2**16  # size that a scale factor is tried at
_FACTORS = ((2.0, 2.0, 2.0), (1.0, 3.0, 0.5), (1.5, 0.75, 2.0), (2.3, 1.1, 0.4), None)
_COUNTS = (None, (4, 5, 3), (2, 7, 3), (3, 3, 8))


def _resize(size, factor):
    """The output size of a scale factor."""
    if type(size) is int:
        return int(size * factor)
    below, above = invert_factor(factor)
    return size * above // below


def _step(size, count, factor):
    """Input elements per output element, as a float32 array."""
    if factor is not None and factor > 0:
        return mx.array(1.0 / factor, mx.float32)
    return mx.array(size, mx.float32) / mx.array(count, mx.float32)


def _nearest(x, axis, count, factor, align_corners, offset=0.0):
    size = x.shape[axis]
    if offset == 0 and x.ndim == 4 and any(is_same_size(count, n * size) for n in (1, 2)):
        factor = None  # torch overlooks it
    places = (mx.arange(0, count, 1, mx.float32) + offset) * _step(size, count, factor)
    index = mx.astype(mx.floor(places), mx.int32)
    return mx.take(x, mx.minimum(index, size - 1), axis)


def _linear(x, axis, count, factor, align_corners):
    size = x.shape[axis]
    if x.dtype == mx.uint8:
        return resample(x, axis, count, factor, align_corners, tent, 1)
    if is_same_size(count, size):
        return x + x * 0  # infinities become NaN, as in torch's sum of both neighbours
    above, below = place_outputs(size, count, factor, align_corners)
    above = mx.maximum(above, 0)
    low = mx.minimum(above // below, size - 1)
    high = mx.minimum(low + 1, size - 1)
    weight = mx.astype(above - low * below, mx.float32) / mx.array(below, mx.float32)
    weight = along(mx.minimum(weight, 1.0), axis, x.ndim)
    return mx.take(x, low, axis) * (1 - weight) + mx.take(x, high, axis) * weight


def _cubic(x, axis, count, factor, align_corners):
    if x.dtype == mx.uint8:
        return resample(x, axis, count, factor, align_corners, partial(keys, a=-0.75), 2)
    size = x.shape[axis]
    above, below = place_outputs(size, count, factor, align_corners)
    low = (above + below) // below - 1  # no division of a negative number
    fraction = mx.astype(above - low * below, mx.float32) / mx.array(below, mx.float32)
    total = 0
    for step, weight in zip((-1, 0, 1, 2), weigh_cubic(fraction), strict=True):
        place = mx.minimum(mx.maximum(low + step, 0), size - 1)
        total = total + mx.take(x, place, axis) * along(weight, axis, x.ndim)
    return total


def _filtered(x, axis, count, factor, align_corners, kernel, of_bytes, reach):
    """Antialiased: a kernel that spans `reach` output elements to each side."""
    if x.dtype == mx.uint8:
        return resample(x, axis, count, factor, align_corners, of_bytes, reach, antialias=True)
    size = x.shape[axis]
    if count == size:  # torch then overlooks the factor
        return x
    # Input elements per output element as `step / unit`, so that distances are exact.
    if align_corners:
        step, unit = (size - 1, count - 1) if count > 1 else (0, 1)
    else:
        step, unit = (size, count) if factor is None or factor <= 0 else invert_factor(factor)
    stretched = max(step, unit)
    centre = mx.expand_dims((mx.arange(0, count, 1, mx.int64) * 2 + 1) * step, 1)
    first = mx.maximum(centre - 2 * reach * stretched + unit, 0) // (2 * unit)
    last = mx.minimum((centre + 2 * reach * stretched + unit) // (2 * unit), size)
    places = first + mx.arange(0, -(-2 * reach * stretched // unit) + 1, 1, mx.int64)
    distance = mx.abs((places * 2 + 1) * unit - centre)

    def short_of(whole):
        """How far the distance is from a whole number."""
        ahead = mx.astype(whole * 2 * stretched - distance, mx.float32)
        return ahead / mx.array(2.0 * stretched, mx.float32)

    weight = mx.where(places < last, kernel(short_of), 0.0)
    weight = weight / mx.sum(weight, 1, keepdims=True)
    values = mx.take(x, mx.minimum(places, size - 1), axis)
    shape = [1] * values.ndim
    shape[axis : axis + 2] = weight.shape
    inside = mx.reshape(places < last, shape)
    return mx.sum(mx.where(inside, values * mx.reshape(weight, shape), 0.0), axis + 1)


def _tent(short_of):
    return mx.maximum(short_of(1), 0.0)


def _keys(short_of):
    """Keys' cubic kernel with a = -0.5, in factors that do not cancel."""
    one, two = short_of(1), short_of(2)
    distance = -short_of(0)
    near = one * (1 + distance * (1 - 1.5 * distance))
    return mx.where(one > 0, near, mx.where(two > 0, 0.5 * one * two * two, 0.0))


@cache
def _is_fraction(factor):
    """Whether sizes times the factor, in float64, round down as those times a fraction do."""
    below, above = invert_factor(factor)
    sizes = np.arange(_LARGEST)
    return above > 0 and np.array_equal(np.trunc(sizes * factor), sizes * above // below)


def _is_sized(call):
    factors = call.arguments.get("scale_factors")
    return (
        not factors
        or all(_is_fraction(float(factor)) for factor in factors)
        or all(isinstance(size, int) for size in call.tensors("input")[0].shape[2:])
    )


_SIZED = Predicate(
    _is_sized,
    DYNAMIC_ARGUMENT,
    f"scale factors that are fractions for sizes to {_LARGEST}, where sizes are dynamic",
)


def _declare(target, dims, function, dtypes, static=False, limitations=()):
    names = [argument.name for argument in target._schema.arguments]
    image, spatial = names[0], len(dims)

    def upsample(**arguments):
        x, sizes = arguments[image], arguments["output_size"]
        factors = arguments.get("scale_factors")
        factors = factors or [v for name, v in arguments.items() if name.startswith("scales")]
        factors = factors or [None] * spatial
        # Bytes stay bytes; what else is mixed is mixed in float32.
        x = x if x.dtype == mx.uint8 else mx.astype(x, mx.float32)
        for axis in reversed(range(spatial)):
            size = x.shape[axis + 2]
            count = sizes[axis] if sizes else _resize(size, factors[axis])
            x = function(x, axis + 2, count, factors[axis], arguments.get("align_corners"))
        return x

    keywords = [Parameter(name, Parameter.KEYWORD_ONLY) for name in names]
    upsample.__signature__ = Signature(keywords)  # type: ignore[attr-defined]
    rules: list[Rule] = [Dtype(image, dtypes), NonEmpty(image)]
    rules.append(Rank(image, spatial + 2, spatial + 2))
    samples: dict[str, Any] = {image: tensor("N", "C", *dims)}
    if target._overloadname == "vec":
        samples["output_size"] = Choice(tuple(c and c[:spatial] for c in _COUNTS))
        samples["scale_factors"] = Choice(tuple(f and f[:spatial] for f in _FACTORS))
    else:
        samples["output_size"] = Sizes(spatial, low=1, high=9)
        scales = [name for name in names if name.startswith("scales")]
        samples |= dict.fromkeys(scales, Choice((None, 0.5, 1.0, 1.7, 2.0, 3.0)))
    if "align_corners" in names:
        samples["align_corners"] = Choice((False, True))
    if static:
        # torch's vertical pass repeats one row where the result is one element wide
        # (docs/findings).
        rules += [Static(image), Static("output_size"), Range("output_size", low=2)]
        # Factors that disagree with the sizes put the kernel beyond the input.
        rules += [OneOf(name, (None,)) for name in names if name.startswith("scales")]
    elif target._overloadname == "vec":
        rules.append(_SIZED)
    sizes = {"N": (1, 2), "C": (0, 6), **dict.fromkeys(dims, (5, 9) if static else (2, 6))}
    family.add(
        target, upsample, samples=draw(sizes, None, **samples), rules=rules, whole=True,
        limitations=limitations,
    )  # fmt: skip


for dims, nearest, exact, linear in (
    (("W",), "upsample_nearest1d", "_upsample_nearest_exact1d", "upsample_linear1d"),
    (_PLANE, "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d"),
    (("D", "H", "W"), "upsample_nearest3d", "_upsample_nearest_exact3d", "upsample_trilinear3d"),
):
    for overload in ("vec", "default"):
        for name, offset in ((nearest, 0.0), (exact, 0.5)):
            target = getattr(getattr(aten, name), overload)
            _declare(target, dims, partial(_nearest, offset=offset), FLOAT | _BYTES)
    _declare(
        getattr(aten, linear).vec, dims, _linear, FLOAT | (_BYTES if dims == _PLANE else set())
    )
_declare(aten.upsample_linear1d.default, ("W",), _linear, FLOAT)
_declare(aten.upsample_bicubic2d.vec, _PLANE, _cubic, FLOAT | _BYTES)
_antialias = partial(_declare, dims=_PLANE, dtypes=_BYTES | {torch.float32}, static=True)
_zero_weight = Limitation(
    "an infinity one element away from a result's centre may make it NaN",
    "the kernel is zero there, which torch's weight misses by a rounding",
    avoids="inf",
)
for overload in ("vec", "default"):
    for packet, kernel, of_bytes, reach, limitations in (
        (aten._upsample_bilinear2d_aa, _tent, tent, 1, ()),
        (aten._upsample_bicubic2d_aa, _keys, partial(keys, a=-0.5), 2, (_zero_weight,)),
    ):
        function = partial(_filtered, kernel=kernel, of_bytes=of_bytes, reach=reach)
        _antialias(getattr(packet, overload), function=function, limitations=limitations)
family.gap(
    "the kernel's weights are sines near their zeros, where float32 misses the numeric criterion",
    aten._upsample_lanczos2d_aa.default,
    aten._upsample_lanczos2d_aa.vec,
)
