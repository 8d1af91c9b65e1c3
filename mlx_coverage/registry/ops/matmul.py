"""Matrix products, of floating and complex types. MLX accumulates halves in float32.

`matmul`, `dot`, `mv`, `outer` and `einsum` arrive decomposed into these and views.
"""

import torch

from mlx_coverage.registry.dtypes import COMPLEX, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import INFINITE_PRODUCT
from mlx_coverage.registry.ops.operands import add_product
from mlx_coverage.registry.rules import Dtype, Rank, SameDtype
from mlx_coverage.registry.samples import BroadcastTensor, Choice, draw, tensor
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("matmul")

TF32 = Limitation(
    "operands are rounded to TF32, of 10 bits, on MLX's CUDA build",
    "MLX_ENABLE_TF32 is on by default; torch's own default on CUDA is full float32",
    frozenset({torch.float32}),
    device="gpu",
)


def _floats(*names):
    return [*(Dtype(name, FLOAT | COMPLEX) for name in names), SameDtype(names)]


@family.op(
    aten.mm.default,
    samples=draw(self=tensor("N", "K"), mat2=tensor("K", "M")),
    rules=_floats("self", "mat2"),
    limitations=(TF32, INFINITE_PRODUCT),
)
def mm(self, mat2):
    return mx.matmul(self, mat2)


@family.op(
    aten.bmm.default,
    samples=draw(self=tensor("B", "N", "K"), mat2=tensor("B", "K", "M")),
    rules=_floats("self", "mat2"),
    limitations=(TF32, INFINITE_PRODUCT),
)
def bmm(self, mat2):
    return mx.matmul(self, mat2)


@family.op(
    aten.addmm.default,
    samples=draw(
        self=BroadcastTensor(("N", "M")),
        mat1=tensor("N", "K"),
        mat2=tensor("K", "M"),
        beta=Choice((1, 0, -2, 0.5)),
        alpha=Choice((1, 2, -0.5)),
    ),
    rules=_floats("self", "mat1", "mat2"),
    limitations=(TF32, INFINITE_PRODUCT),
)
def addmm(self, mat1, mat2, *, beta=1, alpha=1):
    return add_product(self, mat1, mat2, beta, alpha)


@family.op(
    aten.baddbmm.default,
    samples=draw(
        self=BroadcastTensor(("B", "N", "M")),
        batch1=tensor("B", "N", "K"),
        batch2=tensor("B", "K", "M"),
        beta=Choice((1, 0, -2, 0.5)),
        alpha=Choice((1, 2, -0.5)),
    ),
    rules=_floats("self", "batch1", "batch2"),
    whole=True,
    limitations=(TF32, INFINITE_PRODUCT),
)
def baddbmm(self, batch1, batch2, *, beta=1, alpha=1):
    return add_product(self, batch1, batch2, beta, alpha)


@family.op(
    aten.linear.default,
    samples=draw(
        groups={"*S": (0, 3)},
        input=tensor("*S", "K"),
        weight=tensor("M", "K"),
        bias=tensor("M", optional=True),
    ),
    rules=[
        *_floats("input", "weight", "bias"),
        Rank("input", 1),
        Rank("weight", 2, 2),
        Rank("bias", 1, 1),
    ],
    whole=True,
    limitations=(TF32, INFINITE_PRODUCT),
)
def linear(input, weight, bias=None):
    columns = mx.transpose(weight)
    return mx.matmul(input, columns) if bias is None else add_product(bias, input, columns)
