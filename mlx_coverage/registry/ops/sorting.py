"""Sorting and searching. NaN sorts as the largest value, as in torch and MLX alike.

Left to torch's decompositions: argsort, msort, isin.
"""

import torch

from mlx_coverage.registry.dtypes import ANY, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import is_array, wrap_integer
from mlx_coverage.registry.rules import Dtype, OneOf, Rank, Rule, SameDtype
from mlx_coverage.registry.samples import Choice, Number, Tensor, draw, elementwise
from mlx_coverage.registry.shapes import slice_axis
from mlx_coverage.registry.spec import Family, Limitation, Promotion

aten = torch.ops.aten
family = Family("sorting")

_FLAG = Choice((False, True))


def sort_order(x, dim, descending):
    """Indices that sort `x` stably."""
    if x.ndim == 0:
        return mx.zeros((), mx.int64)
    if not descending:
        return mx.astype(mx.argsort(x, dim), mx.int64)
    # Reversed before and after, so that equal elements stay in order.
    reverse = mx.astype(mx.argsort(mx.flip(x, dim), dim), mx.int64)
    return x.shape[dim] - 1 - mx.flip(reverse, dim)


def _take(x, order, dim):
    return mx.take_along_axis(x, order, dim) if x.ndim > 0 else x


@family.op(
    aten.sort.default,
    # Up to 16 elements torch's sort is stable; beyond, the order of equal ones is its own.
    samples=draw(
        self=Tensor(("*B", "N")), dim=Choice((-1,)), descending=_FLAG, sizes={"N": (0, 9)}
    ),
    dtypes=ANY,
)
def sort(self, dim=-1, descending=False):
    order = sort_order(self, dim, descending)
    return _take(self, order, dim), order


@family.op(
    aten.sort.stable,
    samples=elementwise(stable=Choice((True,)), descending=_FLAG),
    dtypes=ANY,
    whole=True,
)
def sort_stable(self, *, dim=-1, descending=False):
    order = sort_order(self, dim, descending)
    return _take(self, order, dim), order


@family.op(
    aten.topk.default,
    samples=draw(
        self=Tensor(("A+3", "*B", "N+3")),
        k=Choice((1, 2, 3, 1, 2, 3, 0)),
        dim=Choice((-1, 0)),
        largest=_FLAG,
        sorted=Choice((True,)),
    ),
    # Sorted results are also right where torch may leave them unsorted.
    dtypes=NUMBER,
)
def topk(self, k, dim=-1, largest=True):
    order = sort_order(self, dim, largest)
    if self.ndim > 0:
        order = slice_axis(order, dim % self.ndim, 0, k)
    return _take(self, order, dim), order


def _search(sequence, values, right, side):
    """Positions in a sorted `sequence`, or in each of many; a NaN belongs at the end of one."""
    right = right or side == "right"
    if not is_array(values):
        values = mx.array(wrap_integer(values, sequence.dtype), sequence.dtype)
    if sequence.ndim == 1:
        return mx.searchsorted(sequence, values, "right" if right else "left")
    before = (mx.less_equal if right else mx.less)(
        mx.expand_dims(sequence, -2), mx.expand_dims(values, -1)
    )
    before = before | mx.isnan(mx.expand_dims(values, -1))
    return mx.sum(mx.astype(before, mx.int32), -1)


_SEQUENCE = Tensor(("*B", "N"), sorted=True)
_BOUNDARIES = Tensor(("N",), sorted=True)
_NAN = Limitation(
    "a value that belongs before the NaN of a sequence stands there, and in torch behind some",
    "torch's search goes past any NaN that it meets",
    avoids="nan",
)
_SEARCHED: list[Rule] = [
    Dtype("sorted_sequence", NUMBER),
    Rank("sorted_sequence", 1),
    OneOf("side", (None, "left", "right")),
]
_BUCKETED: list[Rule] = [Dtype("boundaries", NUMBER), Rank("boundaries", 1, 1)]


@family.op(
    aten.searchsorted.Tensor,
    samples=draw(
        sorted_sequence=_SEQUENCE, self=Tensor(("*B", "M")), out_int32=_FLAG, right=_FLAG,
        side=Choice((None, "left", "right")),
    ),
    rules=[Dtype("self", NUMBER), SameDtype(("sorted_sequence", "self")), *_SEARCHED],
    whole=True,
    limitations=(_NAN,),
)  # fmt: skip
def searchsorted(sorted_sequence, self, *, right=False, side=None, sorter=None):
    if sorter is not None:
        sorted_sequence = mx.take_along_axis(sorted_sequence, sorter, -1)
    return _search(sorted_sequence, self, right, side)


@family.op(
    aten.searchsorted.Scalar,
    samples=draw(sorted_sequence=_BOUNDARIES, self=Number(), out_int32=_FLAG, right=_FLAG),
    rules=[Rank("sorted_sequence", 1, 1), *_SEARCHED, OneOf("sorter", (None,))],
    promotion=Promotion.DEFAULT,
    whole=True,
    limitations=(_NAN,),
)
def searchsorted_scalar(sorted_sequence, self, *, right=False, side=None):
    return _search(sorted_sequence, self, right, side)


@family.op(
    aten.bucketize.Tensor,
    samples=draw(self=Tensor(("*S",)), boundaries=_BOUNDARIES, right=_FLAG, out_int32=_FLAG),
    rules=[Dtype("self", NUMBER), *_BUCKETED],
    promotion=Promotion.DEFAULT,
    whole=True,
    limitations=(_NAN,),
)
def bucketize(self, boundaries, *, right=False):
    return _search(boundaries, self, right, None)


@family.op(
    aten.bucketize.Scalar,
    samples=draw(boundaries=_BOUNDARIES, self=Number(), right=_FLAG, out_int32=_FLAG),
    rules=_BUCKETED,
    promotion=Promotion.DEFAULT,
    whole=True,
    limitations=(_NAN,),
)
def bucketize_scalar(self, boundaries, *, right=False):
    return _search(boundaries, self, right, None)
