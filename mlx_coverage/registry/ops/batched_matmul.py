"""Matrix products over batches and groups: `addbmm`, and the experts of `_grouped_mm`."""

import torch

from mlx_coverage.registry.dtypes import COMPLEX, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import INFINITE_PRODUCT
from mlx_coverage.registry.ops.matmul import TF32
from mlx_coverage.registry.ops.operands import add_product, widen_half
from mlx_coverage.registry.rules import Dtype, OneOf, Rank, SameDtype
from mlx_coverage.registry.samples import BroadcastTensor, Choice, Offsets, draw, tensor
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("batched_matmul")


@family.op(
    aten.addbmm.default,
    samples=draw(
        self=BroadcastTensor(("N", "M")),
        batch1=tensor("B", "N", "K"),
        batch2=tensor("B", "K", "M"),
        beta=Choice((1, 0, -2, 0.5)),
        alpha=Choice((1, 2, -0.5)),
    ),
    dtypes=FLOAT | COMPLEX,
    rules=[SameDtype(("self", "batch1", "batch2"))],
    limitations=(TF32, INFINITE_PRODUCT),
    whole=True,
)
def addbmm(self, batch1, batch2, *, beta=1, alpha=1):
    # The sum over the batch is one more inner size: a single product of long rows.
    batch, rows, inner = batch1.shape
    left = mx.reshape(mx.transpose(batch1, [1, 0, 2]), [rows, batch * inner])
    right = mx.reshape(batch2, [batch * inner, batch2.shape[2]])
    return add_product(self, left, right, beta, alpha)


@family.op(
    aten._grouped_mm.default,
    samples=draw(
        sizes={"K": (1, 2), "M": (1, 2)},
        self=tensor("T", "8*K"),  # torch wants rows of a multiple of 16 bytes
        mat2=tensor("G+1", "8*K", "8*M"),
        offs=Offsets("G+1", "T", first=False, last=True),
    ),
    rules=[
        Dtype("self", frozenset({torch.bfloat16})),  # the one dtype that torch exports
        SameDtype(("self", "mat2")),
        Rank("self", 2, 3),
        Rank("mat2", 3, 3),
        OneOf("bias", (None,)),
        OneOf("out_dtype", (None,)),
    ],
    whole=True,
)
def grouped_mm(self, mat2, offs=None):
    if self.ndim == 3:  # a matrix for each group, and no offsets
        return mx.matmul(widen_half(self), widen_half(mat2))
    # Row t belongs to the first group that ends behind it.
    places = mx.astype(mx.arange(0, self.shape[0]), offs.dtype)
    groups = mx.searchsorted(offs, places, "right")
    # In float32: MLX's CPU has no other `gather_mm`.
    rows, experts = mx.expand_dims(widen_half(self), 1), widen_half(mat2)
    return mx.squeeze(mx.gather_mm(rows, experts, rhs_indices=groups), 1)
