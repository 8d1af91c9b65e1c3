"""Modules as loaded `.pte` methods, for the benchmarks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import Tensor, nn

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner


class Method:
    """A method of a program in memory; ExecuTorch reads the bytes without owning them."""

    def __init__(self, pte: bytes) -> None:
        mlx_coverage.runtime.load()
        self._pte = pte
        self._program = Runtime.get().load_program(pte)
        self._method = self._program.load_method("forward")

    def __call__(self, *inputs: Any) -> Any:
        return self._method.execute(inputs)


def lower(
    model: nn.Module, inputs: tuple[Any, ...], partitioners: Sequence[Any] | None = None
) -> bytes:
    """The `.pte` of a module; by default all of it must go to MLX, in one delegate."""
    ours = MLXPartitioner()
    given = [ours] if partitioners is None else list(partitioners)
    program = torch.export.export(model, inputs)
    edge = to_edge_transform_and_lower(program, partitioner=given)
    if partitioners is None:
        (plan,) = ours.plans
        assert plan.delegated == len(plan.placements), "a part of the model falls back"
        assert len(plan.partitions) == 1
    return bytes(edge.to_executorch().buffer)


def check_equal(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """What is timed must be right."""
    error = (found.float() - expected.float()).abs().max() / expected.float().abs().max()
    assert error < tolerance, f"relative error {error:.1e}"


def no_grad(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function without autograd's bookkeeping."""
    return torch.no_grad()(function)
