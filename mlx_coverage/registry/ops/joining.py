"""Joining, splitting, repeating and padding.

`stack`, `chunk`, `split`, `unbind` and `tile` arrive decomposed into these and views.
"""

from itertools import accumulate

import torch

from mlx_coverage.registry.dtypes import ANY, COMPLEX, FLOAT, INTEGER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import as_array
from mlx_coverage.registry.rules import Dtype, Rank, Static
from mlx_coverage.registry.samples import (
    Choice,
    Dim,
    Dims,
    Number,
    Sizes,
    SplitSizes,
    TensorList,
    draw,
    elementwise,
    tensor,
)
from mlx_coverage.registry.shapes import is_same_size, normalize_dim, slice_axis
from mlx_coverage.registry.spec import Family, Promotion

aten = torch.ops.aten
family = Family("joining")

# Each part of one MLX split refers to all others: beyond so many, slices are the smaller graph.
_MOST_PARTS = 32


@family.op(
    aten.cat.default,
    samples=draw(
        groups={"*S": (0, 3)},
        tensors=TensorList(("N", "*S"), along="dim"),
        dim=Dim(of="tensors"),
    ),
    dtypes=ANY | COMPLEX,
    promotion=Promotion.DEFAULT,
    view=True,
)
def cat(tensors, dim=0):
    rank = max(t.ndim for t in tensors)
    # torch skips 1-d tensors of no elements, whatever the rank of the others.
    parts = [t for t in tensors if t.ndim == rank]
    return mx.concatenate(parts, dim) if len(parts) > 1 else parts[0]


@family.op(
    aten.split_with_sizes.default,
    samples=draw(self=tensor("N", "*S"), split_sizes=SplitSizes()),
    dtypes=ANY | COMPLEX,
    rules=[Rank("self", 1)],
    view=True,
)
def split_with_sizes(self, split_sizes, dim=0):
    if len(split_sizes) < 2:
        return (self,) * len(split_sizes)
    axis = normalize_dim(dim, self.ndim)
    if len(split_sizes) > _MOST_PARTS:
        stops = accumulate(split_sizes)
        bounds = zip(stops, split_sizes, strict=True)
        return tuple(slice_axis(self, axis, stop - size, stop) for stop, size in bounds)
    return mx.split(self, list(accumulate(split_sizes[:-1])), axis)


@family.op(
    aten.repeat.default,
    samples=draw(groups={"*S": (0, 3)}, self=tensor("*S"), repeats=Sizes("self", low=1, high=3)),
    dtypes=ANY | COMPLEX,
)
def repeat(self, repeats):
    return mx.tile(self, repeats)


@family.op(aten.flip.default, samples=elementwise(dims=Dims()), dtypes=ANY | COMPLEX, view=True)
def flip(self, dims):
    if self.ndim == 0 or not dims:
        return self
    start, stop, strides = [0] * self.ndim, list(self.shape), [1] * self.ndim
    for dim in dims:
        start[dim], stop[dim], strides[dim] = self.shape[dim] - 1, -1, -1
    return mx.indexing.slice(self, start, stop, strides)


@family.op(
    aten.roll.default,
    samples=draw(
        self=tensor("A", "B", "C"), shifts=Sizes(2, low=-5, high=5), dims=Choice(([0, 1], [-1, 0]))
    ),
    dtypes=ANY | COMPLEX,
    rules=[Static("shifts")],
    whole=True,
)
def roll(self, shifts, dims=()):
    return mx.roll(self, list(shifts), list(dims)) if dims else mx.roll(self, shifts[0])


@family.op(
    aten.constant_pad_nd.default,
    samples=draw(
        sizes={"H": (2, 5), "W": (2, 5)},
        groups={"*S": (0, 2)},
        self=tensor("*S", "H", "W"),
        pad=Sizes(4, low=-1, high=3),
        value=Number(),
    ),
    dtypes=ANY | COMPLEX,
)
def constant_pad_nd(self, pad, value=0):
    widths = [(0, 0)] * self.ndim
    for position in range(len(pad) // 2):
        axis, low, high = self.ndim - 1 - position, pad[2 * position], pad[2 * position + 1]
        widths[axis] = (mx.host_max(low, 0), mx.host_max(high, 0))
        first, cut = mx.host_max(-low, 0), mx.host_max(-high, 0)
        if not (is_same_size(first, 0) and is_same_size(cut, 0)):
            self = slice_axis(self, axis, first, self.shape[axis] - cut)
    if all(is_same_size(width, 0) for pair in widths for width in pair):
        return self
    return mx.pad(self, widths, constant_values=as_array(value, self.dtype))


def _pad_by_index(self, padding, reflect):
    for position in range(len(padding) // 2):
        axis, low, high = self.ndim - 1 - position, padding[2 * position], padding[2 * position + 1]
        if low == 0 and high == 0:
            continue
        size = self.shape[axis]
        index = mx.arange(-low, size + high)
        if reflect:
            index = (size - 1) - mx.abs((size - 1) - mx.abs(index))
        else:
            index = mx.minimum(mx.maximum(index, 0), size - 1)
        self = mx.take(self, index, axis)
    return self


def _declare_pads(targets, reflect, accepted):
    for spatial, target in enumerate(targets, start=1):
        dims = ("D", "H", "W")[-spatial:]

        def implementation(self, padding):
            return _pad_by_index(self, padding, reflect)

        family.add(
            target,
            implementation,
            samples=draw(
                sizes=dict.fromkeys(dims, (3, 5)),
                self=tensor("N", "C", *dims),
                padding=Sizes(2 * spatial, low=-1, high=2),
            ),
            rules=[
                Dtype("self", accepted),
                Rank("self", spatial + 1, spatial + 2),
                Static("padding"),
            ],
            whole=True,
        )


_declare_pads(
    (aten.reflection_pad1d.default, aten.reflection_pad2d.default, aten.reflection_pad3d.default),
    True,
    FLOAT | INTEGER | COMPLEX,
)
_declare_pads(
    (
        aten.replication_pad1d.default,
        aten.replication_pad2d.default,
        aten.replication_pad3d.default,
    ),
    False,
    FLOAT | INTEGER | COMPLEX,
)
family.gap(
    "the size of the result is the sum of the values of `repeats`",
    aten.repeat_interleave.Tensor,
    kind="op/data-dependent-shape",
)
