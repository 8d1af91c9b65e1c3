"""Writing at indices: scatter, slices and masks. An index out of range is undefined.

`index_add`, `index_copy`, `index_fill`, `masked_fill` and `diagonal_scatter` arrive decomposed
into these, `index_put` and `where`.
"""

from typing import Any

import torch

from mlx_coverage.registry.dtypes import ANY, BOOL, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.indexing import INDEX_RULES, crop
from mlx_coverage.registry.ops.operands import widen_half
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Range, Rank, SameDtype
from mlx_coverage.registry.samples import (
    BroadcastTensor,
    Choice,
    IndexInto,
    Number,
    Size,
    draw,
    tensor,
)
from mlx_coverage.registry.shapes import along, is_same_size, normalize_bound, normalize_dim
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("scatter")


def _scatter(self, dim, index, src, mode):
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
    rules=[Dtype("self", ANY), SameDtype(("self", "src")), *INDEX_RULES],
)
def scatter_src(self, dim, index, src):
    """scatter(Tensor self, int dim, Tensor index, Tensor src) -> Tensor"""
    return _scatter(self, dim, index, crop(src, index), "set")


@family.op(
    aten.scatter.value,
    samples=draw(
        sizes={"A": (1, 3), "B": (1, 4), "X": (0, 2)},
        self=tensor("A+X", "B"),
        dim=Choice((1, -1)),
        index=tensor("A", "K", dtype=("int64",), below="B"),
        value=Number(),
    ),
    rules=[Dtype("self", ANY), *INDEX_RULES],
)
def scatter_value(self, dim, index, value):
    """scatter(Tensor self, int dim, Tensor index, Scalar value) -> Tensor"""
    src = mx.broadcast_to(mx.array(value, self.dtype), index.shape)
    return _scatter(self, dim, index, src, "set")


_REDUCED: dict[str, Any] = {
    "self": tensor("A+X", "B"),
    "dim": Choice((1, -1)),
    "index": tensor("A", "K", dtype=("int64",), below="B"),
    "src": tensor("A+X", "K+1"),
}


@family.op(
    aten.scatter_add.default,
    samples=draw(sizes={"A": (1, 3), "B": (1, 4), "X": (0, 2)}, **_REDUCED),
    rules=[Dtype("self", NUMBER), SameDtype(("self", "src")), *INDEX_RULES],
)
def scatter_add(self, dim, index, src):
    """scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor"""
    return _scatter(widen_half(self), dim, index, widen_half(crop(src, index)), "add")


_MODES = {"sum": "add", "mean": "add", "prod": "multiply", "amax": "maximum", "amin": "minimum"}


def _identity(reduce, dtype):
    """What does not change the other operand of the reduction."""
    if reduce in ("sum", "mean", "prod"):
        return 1 if reduce == "prod" else 0
    sign = -1 if reduce == "amax" else 1
    if dtype in (mx.float16, mx.bfloat16, mx.float32):
        return sign * mx.inf
    bits = 8 * dtype.size
    if dtype == mx.uint8:
        return 0 if reduce == "amax" else 2**bits - 1
    return -(2 ** (bits - 1)) if reduce == "amax" else 2 ** (bits - 1) - 1


@family.op(
    aten.scatter_reduce.two,
    samples=draw(
        sizes={"A": (1, 3), "B": (1, 4), "X": (0, 2)},
        **_REDUCED,
        reduce=Choice(tuple(_MODES)),
        include_self=Choice((True, False)),
    ),
    rules=[
        Dtype("self", NUMBER),
        SameDtype(("self", "src")),
        OneOf("reduce", tuple(_MODES)),
        *INDEX_RULES,
    ],
)
def scatter_reduce(self, dim, index, src, reduce, *, include_self=True):
    """scatter_reduce(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, bool include_self=True) -> Tensor"""  # noqa: E501
    base, values = widen_half(self), widen_half(crop(src, index))
    ones = mx.ones(index.shape, mx.int32)
    hits = _scatter(mx.zeros(self.shape, mx.int32), dim, index, ones, "add")
    if not include_self:
        base = mx.where(hits > 0, mx.array(_identity(reduce, base.dtype), base.dtype), base)
    result = _scatter(base, dim, index, values, _MODES[reduce])
    if reduce == "mean":
        count = mx.maximum(hits + (1 if include_self else 0), 1)
        return result // count if _is_integer(result) else result / count
    if reduce in ("amax", "amin") and not _is_integer(result):
        # MLX's scatter drops a NaN or keeps it by the order of the updates.
        nans = mx.astype(values != values, mx.int32)
        nans = _scatter(mx.astype(base != base, mx.int32), dim, index, nans, "maximum")
        return mx.where(nans > 0, mx.nan, result)
    return result


def _is_integer(a):
    return a.dtype not in (mx.float16, mx.bfloat16, mx.float32)


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
    rules=[Dtype("self", ANY), SameDtype(("self", "src")), Rank("self", 1), Range("step", low=1)],
)
def slice_scatter(self, src, dim=0, start=None, end=None, step=1):
    """slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1) -> Tensor"""  # noqa: E501
    size = self.shape[dim]
    starts, stops, steps = [0] * self.ndim, list(self.shape), [1] * self.ndim
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
    rules=[Dtype("self", ANY), SameDtype(("self", "src")), Rank("self", 1)],
    whole=True,
)
def select_scatter(self, src, dim, index):
    """select_scatter(Tensor self, Tensor src, int dim, SymInt index) -> Tensor"""
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
        Dtype("self", ANY),
        Dtype("mask", BOOL),
        SameDtype(("self", "source")),
        NonEmpty("source"),
    ],
)
def masked_scatter(self, mask, source):
    """masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor"""
    places, self = mx.broadcast_arrays(mask, self)
    # The n-th true element takes the n-th element of the source.
    order = mx.cumsum(mx.astype(mx.flatten(places), mx.int32), 0) - 1
    taken = mx.take(mx.flatten(source), mx.maximum(order, 0), 0)
    return mx.where(places, mx.reshape(taken, places.shape), self)
