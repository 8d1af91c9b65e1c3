"""Pooling over the last one to three dimensions, with or without a batch.

Maxima and sums are separable, so each axis is reduced by itself over strided slices.
`max_pool1d` and average pooling to size 1 arrive decomposed; ExecuTorch writes `avg_pool1d` and
`adaptive_avg_pool1d` in two dimensions.
"""

import math
from dataclasses import dataclass
from functools import reduce

import torch

from mlx_coverage.registry.dtypes import FLOAT, INTEGER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, Range, Rank, Static
from mlx_coverage.registry.samples import Choice, Sizes, draw, tensor
from mlx_coverage.registry.shapes import along, expand_list, slice_axis
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("pooling")
_BATCH = {"*B": (0, 1)}


# Export freezes how the dynamic number of windows is rounded up.
_COUNTED = Static("self", first=1, where="ceil_mode")


@dataclass(frozen=True)
class _Window:
    """The windows along one axis of length `size`."""

    axis: int
    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    ceil: bool

    @property
    def count(self):
        """How many windows there are."""
        reach = self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1
        if not self.ceil:
            return reach // self.stride + 1
        # The last window must start inside the input or its left padding.
        starts = (self.size + self.padding - 1) // self.stride + 1
        return mx.host_min((reach + self.stride - 1) // self.stride + 1, starts)

    @property
    def widths(self):
        """Padding low and high that every window fits into."""
        return self.padding, self.padding + (self.stride - 1 if self.ceil else 0)

    def slices(self, x):
        """For each offset in the window, the elements of all windows."""
        last = (self.count - 1) * self.stride + 1
        for offset in range(self.kernel):
            first = offset * self.dilation
            yield slice_axis(x, self.axis, first, first + last, self.stride)

    def positions(self):
        """Where each window's elements lie in the input, padding included: (count, kernel)."""
        starts = mx.expand_dims(mx.arange(0, self.count), 1) * self.stride
        return starts + mx.arange(0, self.kernel) * self.dilation - self.padding


def _windows(self, kernel_size, stride, padding, dilation, ceil_mode, spatial):
    kernel = expand_list(kernel_size, spatial)
    strides = expand_list(stride, spatial) if stride else kernel
    lists = (kernel, strides, expand_list(padding, spatial), expand_list(dilation, spatial))
    first = self.ndim - spatial
    return [
        _Window(first + i, self.shape[first + i], *numbers, ceil_mode)
        for i, numbers in enumerate(zip(*lists, strict=True))
    ]


def _pad(x, windows, value):
    widths = [(0, 0)] * x.ndim
    for window in windows:
        widths[window.axis] = window.widths
    if all(width == (0, 0) for width in widths):
        return x
    return mx.pad(x, widths, constant_values=mx.array(value, x.dtype))


def _reduce(x, windows, function):
    for window in windows:
        x = reduce(function, window.slices(x))
    return x


def _lowest(dtype):
    if dtype in (mx.float16, mx.bfloat16, mx.float32):
        return -math.inf
    return 0 if dtype == mx.uint8 else -(2 ** (8 * dtype.size - 1))


def _find_maxima(self, windows, best):
    """Torch's indices: the first maximum of each window, or its last NaN."""
    batch, spatial = self.ndim - len(windows), len(windows)
    values, index, inside, reached = self, mx.array(0, mx.int32), mx.array(True), mx.array(True)
    for i, window in enumerate(windows):
        positions = window.positions()
        shape = [1] * (2 * spatial)
        shape[2 * i : 2 * i + 2] = positions.shape
        positions = mx.reshape(positions, shape)
        index = index * window.size + positions
        reached = reached & (positions >= 0)
        inside = inside & (positions >= 0) & (positions < window.size)
        bounded = mx.minimum(mx.maximum(window.positions(), 0), window.size - 1)
        values = mx.take(values, bounded, batch + 2 * i)
    elements = [batch + 2 * i + 1 for i in range(spatial)]
    best = mx.expand_dims(best, elements)
    # Window order is the order of the input, so the first maximum has the least index. A
    # dilated window can miss the input; torch then names its first place after the padding.
    missed = mx.where(reached, index + 2**30, 2**31 - 1)
    first = mx.min(mx.where(inside & (values == best), index, missed), elements) % 2**30
    last_nan = mx.max(mx.where(inside & (values != values), index, -1), elements)
    return mx.where(last_nan >= 0, last_nan, first)


def _declare_max_pool(target, dims):
    spatial = len(dims)

    def max_pool(
        self,
        kernel_size,
        stride=(),
        padding=(0,) * spatial,
        dilation=(1,) * spatial,
        ceil_mode=False,
    ):
        windows = _windows(self, kernel_size, stride, padding, dilation, ceil_mode, spatial)
        best = _reduce(_pad(self, windows, _lowest(self.dtype)), windows, mx.maximum)
        return best, _find_maxima(self, windows, best)

    family.add(
        target,
        max_pool,
        samples=draw(
            sizes=dict.fromkeys(dims, (5, 8)),
            groups=_BATCH,
            self=tensor("*B", "C", *dims),
            kernel_size=Sizes(spatial, low=1, high=3),
            stride=Choice(((), (1,), (2,), (3,))),
            padding=Sizes(spatial, low=0, high=1),
            dilation=Sizes(spatial, low=1, high=2),
            ceil_mode=Choice((False, True)),
        ),
        rules=[Dtype("self", FLOAT | INTEGER), Rank("self", spatial + 1, spatial + 2), _COUNTED],
    )


_declare_max_pool(aten.max_pool2d_with_indices.default, ("H", "W"))
_declare_max_pool(aten.max_pool3d_with_indices.default, ("D", "H", "W"))


def _count_elements(window, include_padding):
    """How many elements torch divides by in each window of one axis."""
    start = mx.arange(0, window.count) * window.stride
    low, high = 0, window.size + 2 * window.padding
    if not include_padding:
        low, high = window.padding, window.size + window.padding
    return mx.minimum(start + window.kernel, high) - mx.maximum(start, low)


def _declare_avg_pool(target, dims, dtypes):
    spatial = len(dims)

    def avg_pool(
        self,
        kernel_size,
        stride=(),
        padding=(0,) * spatial,
        ceil_mode=False,
        count_include_pad=True,
        divisor_override=None,
    ):
        windows = _windows(self, kernel_size, stride, padding, [1], ceil_mode, spatial)
        x = _reduce(_pad(mx.astype(self, mx.float32), windows, 0.0), windows, mx.add)
        if divisor_override is not None:
            return x / divisor_override
        padded = any(window.padding for window in windows)
        if not ceil_mode and (count_include_pad or not padded):
            return x / math.prod(window.kernel for window in windows)
        counts = [_count_elements(window, count_include_pad) for window in windows]
        grid = [along(c, w.axis, x.ndim) for c, w in zip(counts, windows, strict=True)]
        return x / mx.astype(reduce(mx.multiply, grid), mx.float32)

    def avg_pool1d(
        self, kernel_size, stride=(), padding=(0,), ceil_mode=False, count_include_pad=True
    ):
        return avg_pool(self, kernel_size, stride, padding, ceil_mode, count_include_pad)

    # One dimension alone has no divisor of its own.
    divisor = {} if spatial == 1 else {"divisor_override": Choice((None, 1, 5))}
    family.add(
        target,
        avg_pool1d if spatial == 1 else avg_pool,
        samples=draw(
            sizes=dict.fromkeys(dims, (3, 7)),
            groups=_BATCH,
            self=tensor("*B", "C", *dims),
            kernel_size=Sizes(spatial, low=1, high=3),
            stride=Choice(((), (1,), (2,), (3,))),
            padding=Sizes(spatial, low=0, high=1),
            ceil_mode=Choice((False, True)),
            count_include_pad=Choice((True, False)),
            **divisor,
        ),
        rules=[Dtype("self", dtypes), Rank("self", spatial + 1, spatial + 2), _COUNTED],
    )


_declare_avg_pool(aten.avg_pool1d.default, ("W",), FLOAT)
_declare_avg_pool(aten.avg_pool2d.default, ("H", "W"), FLOAT)
_declare_avg_pool(aten.avg_pool3d.default, ("D", "H", "W"), frozenset({torch.float32}))


@dataclass(frozen=True)
class _AdaptiveWindow:
    """`count` windows that cover the axis and may overlap by one element."""

    axis: int
    size: int
    count: int

    def bounds(self):
        """The first element of each window, and the one after its last."""
        index = mx.arange(0, self.count)
        start = index * self.size // self.count
        return start, ((index + 1) * self.size + self.count - 1) // self.count

    def positions(self):
        """Where each window's elements lie, `size` beyond its end: (count, longest)."""
        start, stop = self.bounds()
        longest = (self.size + self.count - 1) // self.count + 1
        places = mx.expand_dims(start, 1) + mx.arange(0, longest)
        return mx.where(places < mx.expand_dims(stop, 1), places, self.size)

    def gather(self, x, missing):
        """The elements of each window on an axis after this one, `missing` beyond its end."""
        places = self.positions()
        values = mx.take(x, mx.minimum(places, self.size - 1), self.axis)
        shape = [1] * values.ndim
        shape[self.axis : self.axis + 2] = places.shape
        inside = mx.reshape(places < self.size, shape)
        return mx.where(inside, values, mx.array(missing, x.dtype))


def _adaptive_windows(self, output_size, spatial):
    counts, first = expand_list(output_size, spatial), self.ndim - spatial
    return [_AdaptiveWindow(first + i, self.shape[first + i], n) for i, n in enumerate(counts)]


def _declare_adaptive(target, dims, pool, **options):
    spatial = len(dims)

    def adaptive_pool(self, output_size):
        return pool(self, _adaptive_windows(self, output_size, spatial))

    family.add(
        target,
        adaptive_pool,
        samples=draw(
            sizes=dict.fromkeys(dims, (1, 7)),
            groups=_BATCH,
            self=tensor("*B", "C", *dims),
            output_size=Sizes(spatial, low=1, high=5),
        ),
        rules=[
            Dtype("self", FLOAT),
            Rank("self", spatial + 1, spatial + 2),
            Range("output_size", low=1),
        ],
        **options,
    )


def _adaptive_mean(self, windows):
    x = mx.astype(self, mx.float32)
    for window in windows:
        start, stop = window.bounds()
        total = mx.sum(window.gather(x, 0.0), window.axis + 1)
        x = total / along(mx.astype(stop - start, mx.float32), window.axis, x.ndim)
    return x


def _adaptive_max(self, windows):
    best = self
    for window in windows:
        best = mx.max(window.gather(best, -math.inf), window.axis + 1)
    return best, _find_maxima(self, windows, best)


_declare_adaptive(aten.adaptive_avg_pool1d.default, ("W",), _adaptive_mean)
_declare_adaptive(aten._adaptive_avg_pool2d.default, ("H", "W"), _adaptive_mean)
_declare_adaptive(aten._adaptive_avg_pool3d.default, ("D", "H", "W"), _adaptive_mean)
_declare_adaptive(aten.adaptive_max_pool2d.default, ("H", "W"), _adaptive_max, whole=True)
_declare_adaptive(aten.adaptive_max_pool3d.default, ("D", "H", "W"), _adaptive_max, whole=True)
