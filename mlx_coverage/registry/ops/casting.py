"""Conversions between dtypes, and copies, which cost nothing where nothing is mutated."""

import torch

from mlx_coverage.registry.dtypes import ANY, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, Rank, ResultDtype
from mlx_coverage.registry.samples import BroadcastTensor, Choice, Tensor, draw
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("casting")


def _choose(dtypes):
    return Choice(tuple(sorted(dtypes, key=str)))


@family.op(
    aten._to_copy.default,
    # A float outside the range of an integer has no value in either.
    samples=draw(self=Tensor(("*S",), low=0, high=127), dtype=_choose(ANY)),
    rules=[Dtype("self", ANY), ResultDtype(ANY)],
)
def to_copy(self, *, result_dtype):
    """_to_copy(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, bool non_blocking=False, MemoryFormat? memory_format=None) -> Tensor"""  # noqa: E501
    return mx.astype(self, result_dtype)


family.unary(
    ANY,
    {
        aten.alias.default: lambda x: x,
        aten.clone.default: lambda x: x,
    },
    view=True,
)


@family.op(
    aten.copy.default,
    samples=draw(self=Tensor(("*S",)), src=BroadcastTensor(("*S",), low=0, high=127)),
    rules=[Dtype("self", ANY), Dtype("src", ANY)],
    view=True,
)
def copy(self, src, *, result_dtype):
    """copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor"""
    return mx.broadcast_to(mx.astype(src, result_dtype), self.shape)


@family.op(
    aten.view.dtype,
    samples=draw(self=Tensor(("*S", 8)), dtype=_choose(NUMBER)),
    rules=[Dtype("self", NUMBER), ResultDtype(NUMBER), Rank("self", 1)],
    view=True,
)
def view_dtype(self, *, result_dtype):
    """view(Tensor(a) self, ScalarType dtype) -> Tensor(a)"""
    return mx.view(self, result_dtype)
