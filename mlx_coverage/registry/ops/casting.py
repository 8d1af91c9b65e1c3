"""Conversions between dtypes, and copies, which cost nothing where nothing is mutated."""

import torch

from mlx_coverage.registry.dtypes import ANY, COMPLEX, FLOAT, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import convert_dtype
from mlx_coverage.registry.rules import NonEmpty, OneOf, Rank, ResultDtype
from mlx_coverage.registry.samples import BroadcastTensor, Choice, Number, Tensor, draw
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("casting")


def _choose(dtypes):
    return Choice(tuple(sorted(dtypes, key=str)))


# Conformance casts NaN, infinities and numbers out of range as well: on a CPU nothing differs.
_UNREPRESENTABLE = Limitation(
    "a float that is NaN, infinite or out of range may become another integer than on a CPU",
    "torch.Tensor.to leaves the result undefined, to vary across platforms",
    device="gpu",
)


@family.op(
    aten._to_copy.default,
    samples=draw(self=Tensor(("*S",)), dtype=_choose(ANY | COMPLEX)),
    dtypes=ANY | COMPLEX,
    rules=[ResultDtype(ANY | COMPLEX)],
    limitations=(_UNREPRESENTABLE,),
)
def to_copy(self, *, result_dtype):
    return convert_dtype(self, result_dtype)


family.unary(
    ANY | COMPLEX, {aten.alias.default: lambda x: x, aten.clone.default: lambda x: x}, view=True
)


@family.op(
    aten.copy.default,
    samples=draw(self=Tensor(("*S",)), src=BroadcastTensor(("*S",))),
    dtypes=ANY | COMPLEX,
    view=True,
    limitations=(_UNREPRESENTABLE,),
)
def copy(self, src, *, result_dtype):
    return mx.broadcast_to(convert_dtype(src, result_dtype), self.shape)


@family.op(
    aten.view.dtype,
    samples=draw(self=Tensor(("*S", 8)), dtype=_choose(NUMBER | COMPLEX)),
    dtypes=NUMBER | COMPLEX,
    rules=[ResultDtype(NUMBER | COMPLEX), Rank("self", 1)],
)
def view_dtype(self, *, result_dtype):
    return mx.view(self, result_dtype)


IN_TRAINING = "Call model.eval() before exporting: in training mode dropout draws random numbers."


@family.op(
    aten.native_dropout.default,
    samples=draw(input=Tensor(("*S",)), p=Number(0.0, 1.0), train=Choice((False,))),
    dtypes=FLOAT,
    rules=[OneOf("train", (False,), remedy=IN_TRAINING), NonEmpty("input")],
)
def native_dropout(input):
    return input, mx.ones(input.shape, mx.bool_)
