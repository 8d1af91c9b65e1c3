"""Sorting and searching. NaN sorts as the largest value, as in torch and MLX alike.

Left to torch's decompositions: argsort, msort, isin.
"""

import torch

from mlx_coverage.registry.dtypes import ANY, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, OneOf, Rank, SameDtype
from mlx_coverage.registry.samples import Choice, Dim, Integer, Tensor, draw, elementwise
from mlx_coverage.registry.shapes import slice_axis
from mlx_coverage.registry.spec import Family

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
    rules=[Dtype("self", ANY)],
)
def sort(self, dim=-1, descending=False):
    """sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)"""
    order = sort_order(self, dim, descending)
    return _take(self, order, dim), order


@family.op(
    aten.sort.stable,
    samples=elementwise(stable=Choice((True,)), dim=Dim(), descending=_FLAG),
    rules=[Dtype("self", ANY)],
    whole=True,
)
def sort_stable(self, *, dim=-1, descending=False):
    """sort(Tensor self, *, bool? stable, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)"""  # noqa: E501
    order = sort_order(self, dim, descending)
    return _take(self, order, dim), order


@family.op(
    aten.topk.default,
    # Different values: which of equal ones torch returns is not specified.
    samples=draw(
        self=Tensor((2, "N"), below="N", unique=True),
        k=Integer(1, 3),
        dim=Choice((-1,)),
        largest=_FLAG,
        sorted=Choice((True,)),
        sizes={"N": (3, 8)},
    ),
    rules=[Dtype("self", NUMBER)],
)
def topk(self, k, dim=-1, largest=True):
    """topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor values, Tensor indices)"""  # noqa: E501
    order = sort_order(self, dim, largest)
    if self.ndim > 0:
        order = slice_axis(order, dim % self.ndim, 0, k)
    return _take(self, order, dim), order


@family.op(
    aten.searchsorted.Tensor,
    samples=draw(
        sorted_sequence=Tensor(("N",), low=-9, high=9),
        self=Tensor(("*S",)),
        out_int32=_FLAG,
        right=_FLAG,
        sizes={"N": (0, 1)},  # so that it is sorted
    ),
    rules=[
        Dtype("sorted_sequence", NUMBER),
        Rank("sorted_sequence", 1, 1),
        SameDtype(("sorted_sequence", "self")),
        OneOf("side", (None,)),
        OneOf("sorter", (None,)),
    ],
    whole=True,
)
def searchsorted(sorted_sequence, self, *, right=False):
    """searchsorted(Tensor sorted_sequence, Tensor self, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None) -> Tensor"""  # noqa: E501
    return mx.searchsorted(sorted_sequence, self, "right" if right else "left")


@family.op(
    aten.bucketize.Tensor,
    samples=draw(
        self=Tensor(("*S",)),
        boundaries=Tensor(("N",), low=-9, high=9),
        right=_FLAG,
        sizes={"N": (0, 1)},
    ),
    rules=[
        Dtype("boundaries", NUMBER),
        Rank("boundaries", 1, 1),
        SameDtype(("self", "boundaries")),
    ],
    whole=True,
)
def bucketize(self, boundaries, *, right=False):
    """bucketize(Tensor self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor"""  # noqa: E501
    return mx.searchsorted(boundaries, self, "right" if right else "left")
