"""Order statistics and counts: medians, the k-th value, the mode, histograms.

`quantile` and `nanquantile` arrive decomposed into a sort. Which of equal elements an
index names is not specified by torch; here it is the first in order, for `mode` the last.
"""

import torch

from mlx_coverage.registry.dtypes import ANY, FLOAT, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.sorting import sort_order
from mlx_coverage.registry.rules import NonEmpty, Range, Static
from mlx_coverage.registry.samples import Choice, Dim, Integer, draw, elementwise, tensor
from mlx_coverage.registry.shapes import along, normalize_dim
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("selection")

_FLAG = Choice((False, True))


def _select(x, dim, keepdim, place):
    """The elements at sorted positions along `dim`, and where `x` has them.

    `place(x, order, axis)` gives the positions, with a size of 1 on the axis.
    """
    rank = x.ndim
    x = mx.reshape(x, [1]) if rank == 0 else x
    axis = normalize_dim(dim, x.ndim)
    order = sort_order(x, axis, descending=False)
    index = mx.take_along_axis(order, place(x, order, axis), axis)
    value = mx.take_along_axis(x, index, axis)
    if keepdim and rank > 0:
        return value, index
    return mx.squeeze(value, axis), mx.squeeze(index, axis)


def _at_median(x, order, axis):
    # The lower of two; where there are NaN, the first of them.
    numbers = _count_numbers(x, axis)
    size = x.shape[axis]
    return mx.where(numbers < size, numbers, (size - 1) // 2)


def _at_nanmedian(x, order, axis):
    return mx.maximum(_count_numbers(x, axis) - 1, 0) // 2


def _count_numbers(x, axis):
    return mx.sum(mx.astype(x == x, mx.int32), axis, keepdims=True)


def _at_mode(x, order, axis):
    """The end of the longest run of equal elements, the first of such runs."""
    ordered = mx.take_along_axis(x, order, axis)
    places = along(mx.arange(0, x.shape[axis]), axis, x.ndim)
    before = mx.take_along_axis(ordered, mx.broadcast_to(mx.maximum(places - 1, 0), x.shape), axis)
    starts = mx.cummax(mx.where(ordered == before, 0, places), axis)
    return mx.argmax(places - starts, axis, keepdims=True)


@family.op(
    aten.kthvalue.default,
    samples=draw(
        self=tensor("A+2", "*B", "N+2"), k=Integer(1, 2), dim=Choice((-1, 0)), keepdim=_FLAG
    ),
    dtypes=NUMBER,
    whole=True,
)
def kthvalue(self, k, dim=-1, keepdim=False):
    def place(x, order, axis):
        sizes = [1 if d == axis else size for d, size in enumerate(x.shape)]
        return mx.full(sizes, k - 1, mx.int32)

    return _select(self, dim, keepdim, place)


_REDUCED = elementwise(dim=Dim(), keepdim=_FLAG)


@family.op(aten.median.dim, samples=_REDUCED, dtypes=NUMBER, rules=[NonEmpty("self")], whole=True)
def median_dim(self, dim, keepdim=False):
    return _select(self, dim, keepdim, _at_median)


@family.op(
    aten.nanmedian.dim,
    samples=_REDUCED,
    dtypes=NUMBER,
    rules=[NonEmpty("self")],
    whole=True,
)
def nanmedian_dim(self, dim, keepdim=False):
    return _select(self, dim, keepdim, _at_nanmedian)


@family.op(aten.median.default, dtypes=NUMBER, rules=[NonEmpty("self")], whole=True)
def median(self):
    return _select(mx.flatten(self), 0, False, _at_median)[0]


@family.op(aten.nanmedian.default, dtypes=NUMBER, rules=[NonEmpty("self")], whole=True)
def nanmedian(self):
    return _select(mx.flatten(self), 0, False, _at_nanmedian)[0]


@family.op(
    aten.mode.default,
    samples=_REDUCED,
    dtypes=ANY,
    rules=[NonEmpty("self")],
    whole=True,
    limitations=(
        Limitation(
            "With NaN beside numbers torch's result depends on where the NaN stand.",
            "torch's kernel sorts by a comparison that NaN answers in no consistent way",
            FLOAT,
            avoids="nan",
        ),
    ),
)
def mode(self, dim=-1, keepdim=False):
    return _select(self, dim, keepdim, _at_mode)


def _place_equal(value, bins):
    """The bin of equal elements: torch lays the bins from one less to one more."""
    if value.dtype != mx.float32:
        below, above = value - 1, value + 1
        return mx.where(below == above, 0, (value - below) * bins / (above - below))
    # Beside large ones, to the neighbours: below a power of two there are twice as many numbers.
    is_power = mx.view(value, mx.int32) & 0x7FFFFF == 0
    third = mx.where(value > 0, bins // 3, 2 * bins // 3)
    return mx.where(is_power & (mx.abs(value) >= 2**24), third, bins // 2)


@family.op(
    aten.histc.default,
    samples=elementwise(bins=Integer(1, 5), min=Choice((0, -2, 0.5)), max=Choice((0, 3, 2.5))),
    dtypes=FLOAT,
    rules=[NonEmpty("self"), Range("bins", low=1), Static("bins")],
    whole=True,
)
def histc(self, bins=100, min=0, max=0):
    values = mx.flatten(self)
    low, high = mx.array(min, self.dtype), mx.array(max, self.dtype)
    if min == max:
        low, high = mx.min(values), mx.max(values)
    inside = (values >= low) & (values <= high)
    # The order of torch's own steps, which decides at the edges of bins.
    places = (values - low) * bins / (high - low)
    places = mx.where(low == high, _place_equal(low, bins), places)
    places = mx.where(inside, places, 0)
    # The last bin is closed; an infinite width makes places that are no numbers.
    places = mx.clip(mx.astype(places, mx.int32), 0, bins - 1)
    counts = mx.zeros([bins], mx.float32)
    return mx.indexing.scatter(counts, [places], mx.astype(inside, mx.float32), "add")


family.gap(
    "it counts into bins whose number depends on the data",
    aten.bincount.default,
    kind="op/data-dependent-shape",
)
family.gap(
    "the size of the result is the number of different elements",
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
    kind="op/data-dependent-shape",
)
