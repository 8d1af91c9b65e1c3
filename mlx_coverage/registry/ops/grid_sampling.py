"""Sampling at the points of a grid, which holds x before y before z, in [-1, 1].

Each point mixes the elements around it: rows of the channels-last input, taken by index.
"""

from functools import reduce
from itertools import product

import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Rank, SameDtype
from mlx_coverage.registry.samples import Choice, draw, tensor
from mlx_coverage.registry.shapes import count_elements
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("grid_sampling")
# torch's numbers of the modes.
_LINEAR, _NEAREST, _CUBIC = range(3)
_ZEROS, _BORDER, _REFLECTION = range(3)


def _declare(target, dims, modes, limitations=()):
    def declare(implementation):
        family.add(
            target,
            implementation,
            samples=draw(
                sizes={"N": (1, 2), "C": (1, 3), **dict.fromkeys(dims, (1, 4))},
                input=tensor("N", "C", *dims),
                grid=tensor("N", *(f"{dim}_out" for dim in dims), len(dims)),
                interpolation_mode=Choice(modes),
                padding_mode=Choice((_ZEROS, _BORDER, _REFLECTION)),
                align_corners=Choice((False, True)),
            ),
            rules=[
                Dtype("input", FLOAT),
                SameDtype(("input", "grid")),
                *(Rank(name, len(dims) + 2, len(dims) + 2) for name in ("input", "grid")),
                NonEmpty("input"),
                NonEmpty("grid"),
                OneOf("interpolation_mode", modes),
            ],
            whole=True,
            limitations=limitations,
        )
        return implementation

    return declare


_FAR = Limitation(
    "places millions of sizes away from the input differ from torch's",
    "float32 holds no fraction of such a place",
    avoids="overflow",
)

_MIDDLE = Limitation(
    "places a rounding off an element, or off the middle of two, are taken to be there",
    "a half of torch's kernel holds other fractions than float32",
    frozenset({torch.float16}),
    avoids="subnormal",
)


@_declare(aten.grid_sampler_2d.default, ("H", "W"), (_LINEAR, _NEAREST, _CUBIC), (_FAR,))
def grid_sampler_2d(input, grid, interpolation_mode, padding_mode, align_corners):
    def bound(place, size):
        """A place of the input; torch's vectorised kernel takes 0 where there is none."""
        if padding_mode == _REFLECTION:
            place = _reflect(place, size, align_corners, lambda a, b: a - mx.trunc(a / b) * b)
        place = mx.minimum(mx.maximum(place, 0.0), _float(size - 1))
        return mx.where(mx.isnan(place), 0.0, place)

    rows, points = _Rows(input), _scale(input, grid, align_corners)
    if interpolation_mode == _CUBIC:
        bound = bound if padding_mode != _ZEROS else lambda place, size: place
        return rows.shape_like(grid, _mix_cubic(rows, points, bound))
    if padding_mode != _ZEROS:
        points = [bound(p, size) for p, size in zip(points, rows.sizes, strict=True)]
    return rows.shape_like(grid, _mix(rows, points, interpolation_mode))


@_declare(aten.grid_sampler_3d.default, ("D", "H", "W"), (_LINEAR, _NEAREST), (_FAR, _MIDDLE))
def grid_sampler_3d(input, grid, interpolation_mode, padding_mode, align_corners):
    rows, points = _Rows(input), _scale(input, grid, align_corners)
    for axis, (place, size) in enumerate(zip(points, rows.sizes, strict=True)):
        if padding_mode == _ZEROS:
            # A point that is nowhere reads nothing, here and not in two dimensions.
            points[axis] = mx.where(mx.isfinite(place), place, -2.0)
            continue
        if padding_mode == _REFLECTION:
            place = _reflect(place, size, align_corners, mx.remainder)
        place = mx.minimum(mx.maximum(place, 0.0), _float(size - 1))
        points[axis] = mx.where(mx.isnan(place), _float(size - 1), place)
    return rows.shape_like(grid, _mix(rows, points, interpolation_mode))


class _Rows:
    """The channels of every element of a batch of images, one after another."""

    def __init__(self, input):
        self.batch, self.channels, *self.sizes = input.shape
        last = mx.transpose(mx.astype(input, mx.float32), [0, *range(2, input.ndim), 1])
        self._area = count_elements(self.sizes)
        self._rows = mx.reshape(last, [self.batch * self._area, self.channels])

    def take(self, places):
        """The channels at whole places (N, points) per axis, 0 outside: (N, points, C)."""
        first = mx.expand_dims(mx.arange(0, self.batch), 1) * self._area
        index, inside = 0, mx.array(True)
        for place, size in zip(places, self.sizes, strict=True):
            inside = inside & (place >= 0) & (place < _float(size))
            index = index * size + mx.astype(place, mx.int32)
        index = mx.where(inside, index, 0) + first
        return mx.where(mx.expand_dims(inside, -1), mx.take(self._rows, index, 0), 0.0)

    def shape_like(self, grid, sampled):
        """(N, points, C) as (N, C, *grid sizes)."""
        return mx.reshape(
            mx.swapaxes(sampled, 1, 2), [self.batch, self.channels, *grid.shape[1:-1]]
        )


def _scale(input, grid, align_corners):
    """Where the points lie, in elements: per axis of the input, (N, points)."""
    batch, *sizes, dims = grid.shape
    flat = mx.reshape(mx.astype(grid, mx.float32), [batch, count_elements(sizes), dims])
    points = []
    for axis, size in enumerate(input.shape[2:]):
        from_edge = mx.take(flat, dims - 1 - axis, 2) + 1
        if align_corners:
            points.append(from_edge * (_float(size - 1) * 0.5))
        else:
            points.append(from_edge * (_float(size) * 0.5) - 0.5)
    return points


def _reflect(place, size, align_corners, remainder):
    """Places thrown back at the borders: centres of the outer elements, or their outer edges."""
    if align_corners:
        low, period = 0.0, mx.maximum(_float(2 * (size - 1)), 1.0)
    else:
        low, period = -0.5, _float(2 * size)
    extra = remainder(mx.abs(place - low), period)
    return mx.minimum(extra, period - extra) + low


def _mix(rows, points, mode):
    if mode == _NEAREST:
        return rows.take([mx.round(place) for place in points])
    low = [mx.floor(place) for place in points]
    above = [place - below for place, below in zip(points, low, strict=True)]
    total = 0
    for corner in product((0, 1), repeat=len(points)):
        places = [place + step for place, step in zip(low, corner, strict=True)]
        parts = [part if step else 1 - part for part, step in zip(above, corner, strict=True)]
        total = total + rows.take(places) * mx.expand_dims(reduce(mx.multiply, parts), -1)
    return total


def _mix_cubic(rows, points, bound):
    low = [mx.floor(place) for place in points]
    weights = [weigh_cubic(place - below) for place, below in zip(points, low, strict=True)]
    places = [
        [bound(below + step, size) for step in (-1.0, 0.0, 1.0, 2.0)]
        for below, size in zip(low, rows.sizes, strict=True)
    ]
    total = 0
    for y, across in zip(places[0], weights[0], strict=True):
        line = sum(
            rows.take([y, x]) * mx.expand_dims(weight, -1)
            for x, weight in zip(places[1], weights[1], strict=True)
        )
        total = total + line * mx.expand_dims(across, -1)
    return total


def weigh_cubic(t):
    """Weights of the four elements around a place, `t` of the way from the second to the third.

    Keys' kernel with a = -0.75, which torch takes, in factors that do not cancel.
    """
    s = 1 - t
    return [-0.75 * t * s * s, s * (1 + t * (1 - 1.25 * t)), t * (1 + s * (1 - 1.25 * s)),
            -0.75 * s * t * t]  # fmt: skip


def _float(size):
    return mx.array(size, mx.float32)
