"""Elementwise functions of one tensor."""

import torch

from mlx_coverage.registry.dtypes import ANY, BOOL, FLOAT, INTEGER, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, OneOf
from mlx_coverage.registry.samples import Choice, elementwise
from mlx_coverage.registry.spec import Family, Promotion

aten = torch.ops.aten
family = Family("unary")

family.unary(
    ANY,
    {
        aten.cos.default: mx.cos,
        aten.exp.default: mx.exp,
        aten.sigmoid.default: mx.sigmoid,
        aten.tanh.default: mx.tanh,
    },
    promotion=Promotion.INT_TO_FLOAT,
)
family.unary(NUMBER, {aten.neg.default: mx.negative, aten.relu.default: lambda x: mx.maximum(x, 0)})
family.unary(INTEGER | BOOL, {aten.bitwise_not.default: mx.bitwise_invert})


@family.op(
    aten.gelu.default,
    samples=elementwise(approximate=Choice(("none", "tanh"))),
    rules=[Dtype("self", FLOAT), OneOf("approximate", ("none", "tanh"))],
    whole=True,
)
def gelu(self, approximate="none"):
    """gelu(Tensor self, *, str approximate='none') -> Tensor"""
    x = mx.astype(self, mx.float32)
    if approximate == "tanh":
        cubic = x + 0.044715 * (x * x * x)
        return 0.5 * x * (1 + mx.tanh(0.7978845608028654 * cubic))
    return 0.5 * x * (1 + mx.erf(x * 0.7071067811865476))
