"""Sliding blocks: `im2col` (unfold) and `col2im` (fold), with or without a batch."""

import torch

from mlx_coverage.registry.dtypes import BOOL, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import NonEmpty, Rank
from mlx_coverage.registry.samples import Shape, draw, tensor
from mlx_coverage.registry.shapes import slice_axis
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("fold")
_SIZES = {"K": (1, 3), "D": (1, 2), "P": (0, 2), "S": (1, 3)}
_BLOCKS = {
    "kernel_size": Shape(("K", 2)),
    "dilation": Shape(("D", 1)),
    "padding": Shape(("P", 1)),
    "stride": Shape(("S", 2)),
}


def _count(size, kernel, dilation, padding, stride):
    """How many blocks lie along an axis."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@family.op(
    aten.im2col.default,
    samples=draw(
        sizes={**_SIZES, "H": (5, 7), "W": (2, 6)},
        groups={"*B": (0, 1)},
        self=tensor("*B", "C", "H", "W"),
        **_BLOCKS,
    ),
    dtypes=FLOAT | BOOL,
    rules=[Rank("self", 3, 4), NonEmpty("self")],
    whole=True,
)
def im2col(self, kernel_size, dilation, padding, stride):
    *batch, channels, _, _ = self.shape
    first = len(batch) + 1
    blocks = list(zip(self.shape[first:], kernel_size, dilation, padding, stride, strict=True))
    x = mx.pad(self, [(0, 0)] * first + [(p, p) for p in padding])
    for axis, block in zip((first + 1, first), reversed(blocks), strict=True):
        _, kernel, spacing, _, step = block
        starts = mx.arange(0, _count(*block)) * step
        x = mx.take(x, mx.expand_dims(mx.arange(0, kernel) * spacing, 1) + starts, axis)
    # (C, window row, row of blocks, window column, column of blocks): both windows first.
    x = mx.transpose(x, [*range(first + 1), first + 2, first + 1, first + 3])
    counts = [_count(*block) for block in blocks]
    return mx.reshape(
        x, [*batch, channels * kernel_size[0] * kernel_size[1], counts[0] * counts[1]]
    )


@family.op(
    aten.col2im.default,
    samples=draw(
        sizes={**_SIZES, "C": (1, 3), "H": (5, 7), "W": (2, 6)},
        groups={"*B": (0, 1)},
        self=tensor("*B", "C*K*2", "((H+2*P-D*(K-1)-1)//S+1)*((W+2-2)//2+1)"),
        output_size=Shape(("H", "W")),
        **_BLOCKS,
    ),
    dtypes=FLOAT,
    rules=[Rank("self", 2, 3), NonEmpty("self")],
    whole=True,
)
def col2im(self, output_size, kernel_size, dilation, padding, stride):
    *batch, channels, _ = self.shape
    first = len(batch) + 1
    blocks = list(zip(output_size, kernel_size, dilation, padding, stride, strict=True))
    counts = [_count(*block) for block in blocks]
    channels = channels // (kernel_size[0] * kernel_size[1])
    x = mx.reshape(mx.astype(self, mx.float32), [*batch, channels, *kernel_size, *counts])
    # (C, window row, row of blocks, window column, column of blocks), each pair then one axis.
    x = mx.transpose(x, [*range(first + 1), first + 2, first + 1, first + 3])
    for axis, block in zip((first + 2, first), reversed(blocks), strict=True):
        x = _add_blocks(x, axis, *block)
    return x


def _add_blocks(x, axis, size, kernel, dilation, padding, stride):
    """The axes (window, blocks) at `axis` as the axis of `size` where the blocks overlap."""
    padded, count = size + 2 * padding, x.shape[axis + 1]
    total = None
    for offset in range(kernel):
        part = mx.squeeze(slice_axis(x, axis, offset, offset + 1), axis)
        start = offset * dilation
        starts, steps = [0] * part.ndim, [1] * part.ndim
        starts[axis], steps[axis] = start, stride
        stops = list(part.shape)
        stops[axis] = start + (count - 1) * stride + 1
        if total is None:
            shape = list(part.shape)
            shape[axis] = padded
            total = mx.zeros(shape, part.dtype)
        part = part + mx.indexing.slice(total, starts, stops, steps)
        total = mx.indexing.slice_update(total, part, starts, stops, steps)
    return slice_axis(total, axis, padding, padding + size)
