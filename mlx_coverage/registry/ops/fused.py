"""Subgraphs that models spell out and MLX has as one function."""

from typing import Any

import torch
from torch import Tensor

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, Rank, SameDtype
from mlx_coverage.registry.samples import Number, draw, tensor
from mlx_coverage.registry.spec import Family

family = Family("fused")

_NORM: dict[str, Any] = {
    "samples": draw(
        sizes={"K": (1, 9)},
        x=tensor("*B", "K"),
        weight=tensor("K"),
        eps=Number(1e-6, 1e-2),
    ),
    "rules": [
        Dtype("x", FLOAT),
        SameDtype(("x", "weight")),
        Rank("x", 1),
        Rank("weight", 1, 1),
    ],
    "anchor": torch.ops.aten.rsqrt.default,
}


def scaled_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMS norm as Llama, Qwen, Phi and T5 write it: rounded before the weight is applied."""
    wide = x.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


@family.pattern(scaled_rms_norm, **_NORM)
def fused_rms_norm(x, weight, eps):
    return mx.fast.rms_norm(x, weight, eps)


def shifted_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMS norm as Gemma writes it: scaled by one plus the weight, in float32."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * (1.0 + weight.float())).type_as(x)


@family.pattern(shifted_rms_norm, **_NORM)
def fused_shifted_rms_norm(x, weight, eps):
    scale = 1 + mx.astype(weight, mx.float32)
    return mx.fast.rms_norm(mx.astype(x, mx.float32), scale, eps)
