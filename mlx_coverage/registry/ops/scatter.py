"""Writing at indices: scatter, slices and masks. An index out of range is undefined.

`index_add`, `index_copy`, `index_fill` and `masked_fill` arrive decomposed into these,
`index_put` and `where`.
"""

from typing import Any

import torch

from mlx_coverage.registry import reasons
from mlx_coverage.registry.dtypes import ANY, BOOL, COMPLEX, INDEX, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.indexing import INDEX_RULES, crop
from mlx_coverage.registry.ops.operands import as_array, widen_half
from mlx_coverage.registry.ops.views import IN_ORDER
from mlx_coverage.registry.rules import Dtype, NonEmpty, Predicate, Range, Rank, SameDtype, Static
from mlx_coverage.registry.samples import (
    BroadcastTensor,
    Choice,
    IndexInto,
    Number,
    Shape,
    Size,
    draw,
    tensor,
)
from mlx_coverage.registry.shapes import (
    along,
    count_elements,
    is_same_size,
    normalize_bound,
    normalize_dim,
)
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("scatter")

_LAST_WRITE = Limitation(
    "where indices repeat and nothing accumulates, another of the elements may be put",
    "the threads of a GPU write in no order",
    device="gpu",
)


def scatter_along(self, dim, index, src, mode):
    """Put or combine `src` at `index` along `dim`; equal indices of a plain put are undefined."""
    dim = normalize_dim(dim, self.ndim)
    others = [axis for axis in range(self.ndim) if axis != dim]
    if mode == "set" and all(is_same_size(self.shape[i], index.shape[i]) for i in others):
        return mx.put_along_axis(self, index, src, dim)
    grid = [
        index if axis == dim else along(mx.arange(0, index.shape[axis]), axis, self.ndim)
        for axis in range(self.ndim)
    ]
    return mx.indexing.scatter(self, mx.broadcast_arrays(*grid), src, mode)


@family.op(
    aten.scatter.src,
    samples=draw(
        sizes={"A": (1, 3), "B": (3, 5), "K": (0, 3), "X": (0, 2)},
        self=tensor("A+X", "B"),
        dim=Choice((1, -1)),
        index=tensor("A", "K", dtype=("int64",), below="B", unique=True),
        src=tensor("A+X", "K+1"),
    ),
    rules=[Dtype("self", ANY | COMPLEX), SameDtype(("self", "src")), *INDEX_RULES],
)
def scatter_src(self, dim, index, src):
    return scatter_along(self, dim, index, crop(src, index), "set")


@family.op(
    aten.scatter.value,
    samples=draw(
        sizes={"A": (1, 3), "B": (1, 4), "X": (0, 2)},
        self=tensor("A+X", "B"),
        dim=Choice((1, -1)),
        index=tensor("A", "K", dtype=("int64",), below="B"),
        value=Number(),
    ),
    rules=[Dtype("self", ANY | COMPLEX), *INDEX_RULES],
)
def scatter_value(self, dim, index, value):
    src = mx.broadcast_to(as_array(value, self.dtype), index.shape)
    return scatter_along(self, dim, index, src, "set")


REDUCED_SIZES = {"A": (1, 3), "B": (1, 4), "X": (0, 2)}
REDUCED: dict[str, Any] = {
    "self": tensor("A+X", "B"),
    "dim": Choice((1, -1)),
    "index": tensor("A", "K", dtype=("int64",), below="B"),
    "src": tensor("A+X", "K+1"),
}


@family.op(
    aten.scatter_add.default,
    samples=draw(sizes=REDUCED_SIZES, **REDUCED),
    rules=[Dtype("self", NUMBER | COMPLEX), SameDtype(("self", "src")), *INDEX_RULES],
)
def scatter_add(self, dim, index, src):
    return scatter_along(widen_half(self), dim, index, widen_half(crop(src, index)), "add")


@family.op(
    aten.slice_scatter.default,
    samples=draw(
        sizes={"N": (1, 4), "B": (0, 2)},
        self=tensor("2*N+B", "*S"),
        src=tensor("N", "*S"),
        dim=Choice((0,)),
        start=Choice((0, None)),
        end=Size("2*N"),
        step=Choice((2,)),
    ),
    rules=[
        Dtype("self", ANY | COMPLEX),
        SameDtype(("self", "src")),
        Rank("self", 1),
        Range("step", low=1),
    ],
)
def slice_scatter(self, src, dim=0, start=None, end=None, step=1):
    size, dim = self.shape[dim], normalize_dim(dim, self.ndim)
    # Torch's export does not relate the other sizes of `src` to those of `self`.
    src = crop(src, self, dim)
    starts, stops, steps = [0] * self.ndim, list(src.shape), [1] * self.ndim
    starts[dim] = normalize_bound(start, size, 0)
    stops[dim] = mx.host_max(starts[dim], normalize_bound(end, size, size))
    steps[dim] = step
    return mx.indexing.slice_update(self, src, starts, stops, steps)


@family.op(
    aten.select_scatter.default,
    samples=draw(
        sizes={"N": (1, 4)},
        self=tensor("N", "*S"),
        src=tensor("*S"),
        dim=Choice((0,)),
        index=IndexInto(),
    ),
    rules=[Dtype("self", ANY | COMPLEX), SameDtype(("self", "src")), Rank("self", 1)],
    whole=True,
)
def select_scatter(self, src, dim, index):
    first = normalize_bound(index, self.shape[dim], 0)
    dim = normalize_dim(dim, self.ndim)
    return slice_scatter(self, mx.expand_dims(src, dim), dim, first, first + 1)


@family.op(
    aten.masked_scatter.default,
    samples=draw(
        sizes={"*S": (1, 4), "M": (64, 80)},
        groups={"*S": (0, 3)},
        self=tensor("*S"),
        mask=BroadcastTensor(("*S",), dtype=("bool",)),
        source=tensor("M"),
    ),
    rules=[
        Dtype("self", ANY | COMPLEX),
        Dtype("mask", BOOL),
        SameDtype(("self", "source")),
        NonEmpty("source"),
    ],
)
def masked_scatter(self, mask, source):
    places, self = mx.broadcast_arrays(mask, self)
    # The n-th true element takes the n-th element of the source.
    order = mx.cumsum(mx.astype(mx.flatten(places), mx.int32), 0) - 1
    taken = mx.take(mx.flatten(source), mx.maximum(order, 0), 0)
    return mx.where(places, mx.reshape(taken, places.shape), self)


@family.op(
    aten.put.default,
    samples=draw(
        sizes={"A": (1, 4), "B": (1, 4)},
        self=tensor("A", "B"),
        index=tensor("K", dtype=("int64",), below="A*B", negative=True, unique=True),
        source=tensor("K"),
        accumulate=Choice((False, True)),
    ),
    rules=[Dtype("self", NUMBER | COMPLEX), SameDtype(("self", "source")), Dtype("index", INDEX)],
    whole=True,
    limitations=(_LAST_WRITE,),
)
def put(self, index, source, accumulate=False):
    flat, source = mx.flatten(self), mx.flatten(source)
    if accumulate:
        flat, source = widen_half(flat), widen_half(source)
    mode = "add" if accumulate else "set"
    return mx.reshape(mx.indexing.scatter(flat, [mx.flatten(index)], source, mode), self.shape)


@family.op(
    aten.diagonal_scatter.default,
    samples=draw(
        self=tensor("A", "*S", "B+1"),
        src=tensor("*S", "min(A, B)"),
        offset=Choice((1,)),
        dim1=Choice((0,)),
        dim2=Choice((-1,)),
    ),
    # Torch's export does not relate the sizes of `src` to those of `self`.
    rules=[
        Dtype("self", ANY | COMPLEX),
        SameDtype(("self", "src")),
        Rank("self", 2),
        Static("src"),
    ],
    whole=True,
)
def diagonal_scatter(self, src, offset=0, dim1=0, dim2=1):
    pair = [normalize_dim(dim1, self.ndim), normalize_dim(dim2, self.ndim)]
    axes = pair + [axis for axis in range(self.ndim) if axis not in pair]
    places = mx.arange(0, src.shape[-1])
    diagonal = [places + max(-offset, 0), places + max(offset, 0)]
    leading = mx.indexing.scatter(
        mx.transpose(self, axes), diagonal, mx.moveaxis(src, -1, 0), "set"
    )
    return mx.transpose(leading, [axes.index(axis) for axis in range(self.ndim)])


def _writes_once(call):
    """Whether every stride reaches past all that the shorter ones span."""
    reach = 0
    sizes, strides = call.arguments["size"], call.arguments["stride"]
    for stride, size in sorted(zip(strides, sizes, strict=True)):
        if size > 1 and stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


@family.op(
    aten.as_strided_scatter.default,
    samples=draw(
        sizes={"A": (0, 3), "B": (0, 3)},
        self=tensor("A+2", "B+4"),
        src=tensor("M", "N"),
        size=Shape(("M", "N")),
        stride=Choice(((4, 1), (1, 4), (4, 2), (1, 1), (0, 1))),
        storage_offset=Choice((None, 0, 1)),
    ),
    rules=[
        Dtype("self", ANY | COMPLEX),
        SameDtype(("self", "src")),
        IN_ORDER,
        Static("size"),
        Static("stride"),
        Predicate(_writes_once, reasons.ARGUMENT_VALUE, "no element is written twice", "stride"),
    ],
    whole=True,
)
def as_strided_scatter(self, src, size, stride, storage_offset=None):
    places = mx.arange(0, count_elements(self.shape), 1, mx.int64)
    places = mx.as_strided(places, size, stride, storage_offset or 0)
    flat = mx.indexing.scatter(mx.reshape(self, [count_elements(self.shape)]), [places], src)
    return mx.reshape(flat, self.shape)
