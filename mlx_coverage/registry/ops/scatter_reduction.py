"""Scatters that combine: sums, products, means and extremes at indices."""

import torch

from mlx_coverage.registry.dtypes import NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.indexing import INDEX_RULES, crop
from mlx_coverage.registry.ops.operands import widen_half
from mlx_coverage.registry.ops.scatter import REDUCED, REDUCED_SIZES, scatter_along
from mlx_coverage.registry.rules import Dtype, OneOf, Rank, SameDtype
from mlx_coverage.registry.samples import Choice, Number, draw, tensor
from mlx_coverage.registry.shapes import along, normalize_dim
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("scatter_reduction")

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
        sizes=REDUCED_SIZES,
        **REDUCED,
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
    base, values = widen_half(self), widen_half(crop(src, index))
    ones = mx.ones(index.shape, mx.int32)
    hits = scatter_along(mx.zeros(self.shape, mx.int32), dim, index, ones, "add")
    if not include_self:
        base = mx.where(hits > 0, mx.array(_identity(reduce, base.dtype), base.dtype), base)
    result = scatter_along(base, dim, index, values, _MODES[reduce])
    if reduce == "mean":
        count = mx.maximum(hits + (1 if include_self else 0), 1)
        return result // count if _is_integer(result) else result / count
    if reduce in ("amax", "amin") and not _is_integer(result):
        # MLX's scatter drops a NaN or keeps it by the order of the updates.
        nans = mx.astype(values != values, mx.int32)
        nans = scatter_along(mx.astype(base != base, mx.int32), dim, index, nans, "maximum")
        return mx.where(nans > 0, mx.nan, result)
    return result


def _is_integer(a):
    return a.dtype not in (mx.float16, mx.bfloat16, mx.float32)


_COMBINED = {"add": "add", "multiply": "multiply"}


@family.op(
    aten.scatter.reduce,
    samples=draw(sizes=REDUCED_SIZES, **REDUCED, reduce=Choice(tuple(_COMBINED))),
    rules=[
        Dtype("self", NUMBER),
        SameDtype(("self", "src")),
        OneOf("reduce", tuple(_COMBINED)),
        *INDEX_RULES,
    ],
    whole=True,
)
def scatter_and_combine(self, dim, index, src, *, reduce):
    values = widen_half(crop(src, index))
    return scatter_along(widen_half(self), dim, index, values, _COMBINED[reduce])


@family.op(
    aten.scatter.value_reduce,
    samples=draw(
        sizes=REDUCED_SIZES,
        self=REDUCED["self"],
        dim=REDUCED["dim"],
        index=REDUCED["index"],
        value=Number(),
        reduce=Choice(tuple(_COMBINED)),
    ),
    rules=[Dtype("self", NUMBER), OneOf("reduce", tuple(_COMBINED)), *INDEX_RULES],
    whole=True,
)
def scatter_value_and_combine(self, dim, index, value, *, reduce):
    src = mx.broadcast_to(mx.array(value, self.dtype), index.shape)
    return scatter_and_combine(self, dim, index, src, reduce=reduce)


@family.op(
    aten.index_reduce.default,
    samples=draw(
        sizes={"N": (1, 4)},
        self=tensor("A", "N", "B"),
        dim=Choice((1, -2)),
        index=tensor("K", dtype=("int32", "int64"), below="N"),
        source=tensor("A", "K", "B"),
        reduce=Choice(("prod", "mean", "amax", "amin")),
        include_self=Choice((True, False)),
    ),
    rules=[
        Dtype("self", NUMBER),
        SameDtype(("self", "source")),
        OneOf("reduce", ("prod", "mean", "amax", "amin")),
        *INDEX_RULES,
        Rank("index", 1, 1),
    ],
    whole=True,
)
def index_reduce(self, dim, index, source, reduce, *, include_self=True):
    axis = normalize_dim(dim, self.ndim)
    places = mx.broadcast_to(along(index, axis, self.ndim), source.shape)
    return scatter_reduce(self, axis, places, source, reduce, include_self=include_self)
