"""A recorded program under `mlx.core`, with torch tensors in and out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import torch
from torch import Tensor

from mlx_coverage.lowering.functions import decode_dtype
from mlx_coverage.lowering.interpreter import run_program
from mlx_coverage.lowering.program import Constant, State
from mlx_coverage.lowering.translation import Recording


class Interpreted:
    """A recording that runs with `mlx.core`, keeping its states between calls."""

    def __init__(self, recording: Recording) -> None:
        self.program, weights = recording.program, recording.weights

        def load(entry: Constant | State) -> mx.array:
            if entry.key is None:
                return mx.zeros(entry.dims, decode_dtype(entry.dtype))
            # Equal bytes are stored once, whatever their dtype and shape.
            return replace(weights[entry.key], dtype=entry.dtype, dims=entry.dims).load()

        self.constants = {c.slot: load(c) for c in self.program.constants}
        self.states = [load(state) for state in self.program.states]

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        arrays = [to_mlx(value) if isinstance(value, Tensor) else value for value in inputs]
        return run_program(self.program, arrays, self.constants, self.states)


def to_mlx(tensor: Tensor) -> mx.array:
    if tensor.dtype == torch.bfloat16:
        return mx.array(tensor.view(torch.uint16).numpy()).view(mx.bfloat16)
    return mx.array(tensor.numpy())


def to_torch(array: mx.array, dtype: torch.dtype) -> Tensor:
    if dtype == torch.bfloat16:
        return torch.from_numpy(np.array(array.view(mx.uint16))).view(dtype)
    return torch.from_numpy(np.array(array)).to(dtype)
