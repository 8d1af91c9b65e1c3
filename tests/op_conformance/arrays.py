"""Torch tensors as MLX arrays and back, bit for bit."""

from typing import Any

import numpy as np
import torch

from mlx_coverage.registry.evaluate import mlx_dtype
from mlx_coverage.registry.mx import import_mlx, mx

# Where eager MLX and the runtime compute here: the device of an entry's limitations.
DEVICE = "cpu" if "cpu" in str(import_mlx().default_device()).lower() else "gpu"


def to_mlx(tensor: torch.Tensor) -> Any:
    """The tensor as an MLX array with the same strides over the same storage."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.is_contiguous():
        return _from_contiguous(tensor)
    length = tensor.storage_offset() + 1 + _reach(tensor)
    storage = torch.as_strided(tensor, (length,), (1,), 0)
    return mx.as_strided(
        _from_contiguous(storage), tensor.shape, tensor.stride(), tensor.storage_offset()
    )


def to_torch(array: Any) -> torch.Tensor:
    """An MLX array as a contiguous tensor of the corresponding dtype."""
    if array.dtype == mx.bfloat16:
        bits = torch.from_numpy(np.array(mx.view(array, mx.int16)))
        return bits.view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _from_contiguous(tensor: torch.Tensor) -> Any:
    # numpy has no bfloat16: its bits travel as int16.
    if tensor.dtype == torch.bfloat16:
        return mx.view(mx.array(tensor.view(torch.int16).numpy()), mx.bfloat16)
    return mx.array(tensor.numpy(), mlx_dtype(tensor.dtype))


def _reach(tensor: torch.Tensor) -> int:
    if tensor.numel() == 0:
        return -1
    return sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
