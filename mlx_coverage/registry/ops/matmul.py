"""Matrix products. MLX accumulates halves in float32.

`matmul`, `dot`, `mv`, `outer` and `einsum` arrive decomposed into these and views.
"""

import torch

from mlx_coverage.registry.dtypes import COMPLEX, FLOAT, INTEGER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import INFINITE_PRODUCT
from mlx_coverage.registry.ops.integer_products import add_integers, multiply, multiply_integers
from mlx_coverage.registry.ops.operands import add_product, is_integer
from mlx_coverage.registry.rules import Dtype, Rank, SameDtype
from mlx_coverage.registry.samples import BroadcastTensor, Choice, draw, tensor
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("matmul")
_BYTE = frozenset({torch.int8})

TF32 = Limitation(
    "operands are rounded to TF32, of 10 bits, on MLX's CUDA build",
    "MLX_ENABLE_TF32 is on by default; torch's own default on CUDA is full float32",
    frozenset({torch.float32}),
    device="gpu",
)


def _floats(*names, others=frozenset()):
    return [*(Dtype(name, FLOAT | COMPLEX | others) for name in names), SameDtype(names)]


def _numbers(*names):
    return _floats(*names, others=INTEGER)


@family.op(
    aten.mm.default,
    samples=draw(self=tensor("N", "K"), mat2=tensor("K", "M")),
    rules=_numbers("self", "mat2"),
    limitations=(TF32, INFINITE_PRODUCT),
)
def mm(self, mat2):
    return multiply(self, mat2)


@family.op(
    aten.bmm.default,
    samples=draw(self=tensor("B", "N", "K"), mat2=tensor("B", "K", "M")),
    rules=_numbers("self", "mat2"),
    limitations=(TF32, INFINITE_PRODUCT),
)
def bmm(self, mat2):
    return multiply(self, mat2)


@family.op(
    aten.addmm.default,
    samples=draw(
        self=BroadcastTensor(("N", "M")),
        mat1=tensor("N", "K"),
        mat2=tensor("K", "M"),
        beta=Choice((1, 0, -2, 0.5)),
        alpha=Choice((1, 2, -0.5)),
    ),
    rules=_numbers("self", "mat1", "mat2"),
    limitations=(TF32, INFINITE_PRODUCT),
)
def addmm(self, mat1, mat2, *, beta=1, alpha=1):
    add = add_integers if is_integer(self.dtype) else add_product
    return add(self, mat1, mat2, beta, alpha)


@family.op(
    aten._int_mm.default,
    samples=draw(self=tensor("N", "K"), mat2=tensor("K", "M")),
    rules=[Dtype("self", _BYTE), Dtype("mat2", _BYTE)],
    whole=True,
)
def int_mm(self, mat2):
    return multiply_integers(self, mat2, mx.int32)


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
