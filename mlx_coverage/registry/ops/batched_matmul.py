"""Matrix products over batches and groups: `addbmm`, and experts, of torch and transformers."""

import torch

from mlx_coverage.registry.dtypes import COMPLEX, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import INFINITE_PRODUCT
from mlx_coverage.registry.ops.matmul import TF32
from mlx_coverage.registry.ops.operands import add_product, widen_half
from mlx_coverage.registry.rules import Dtype, OneOf, Rank, SameDtype
from mlx_coverage.registry.samples import BroadcastTensor, Choice, Offsets, draw, tensor
from mlx_coverage.registry.spec import Family, define_op

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
    return _multiply_groups(self, mat2, offs)[0]


def _multiply_groups(rows, experts, ends):
    """Each row times the matrix of its group, and (T, 1) whether it has one."""
    # Row t belongs to the first group that ends behind it.
    places = mx.astype(mx.arange(0, rows.shape[0]), ends.dtype)
    groups = mx.searchsorted(ends, places, "right")
    last = experts.shape[0] - 1
    # In float32: MLX's CPU has no other `gather_mm`.
    rows, experts = mx.expand_dims(widen_half(rows), 1), widen_half(experts)
    product = mx.gather_mm(rows, experts, rhs_indices=mx.minimum(groups, last))
    return mx.squeeze(product, 1), mx.expand_dims(groups <= last, 1)


def multiply_experts(input: torch.Tensor, weight: torch.Tensor, offs: torch.Tensor) -> torch.Tensor:
    """What transformers' experts compute: rows of no group are 0."""
    places = torch.arange(input.shape[0], dtype=offs.dtype, device=input.device)
    groups = torch.searchsorted(offs, places, right=True)
    experts = weight[groups.clamp(max=weight.shape[0] - 1)]
    product = torch.bmm(input[:, None], experts)[:, 0]
    return torch.where((groups < weight.shape[0])[:, None], product, 0)


_EXPERTS = define_op(multiply_experts)


@family.decomposition("transformers::grouped_mm_fallback")
def grouped_mm_fallback(input, weight, offs):
    return _EXPERTS(input, weight, offs)


@family.op(
    _EXPERTS,
    samples=draw(
        input=tensor("T", "K"),
        weight=tensor("G+1", "K", "M"),
        offs=Offsets("G+1", "T", first=False),
    ),
    rules=[
        Dtype("input", FLOAT),
        SameDtype(("input", "weight")),
        Rank("input", 2, 2),
        Rank("weight", 3, 3),
    ],
    whole=True,
)
def experts(input, weight, offs):
    """multiply_experts(Tensor input, Tensor weight, Tensor offs) -> Tensor"""
    product, is_grouped = _multiply_groups(input, weight, offs)
    return mx.where(is_grouped, product, 0)
