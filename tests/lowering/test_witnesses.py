"""Example values for dynamic sizes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mlx_coverage.lowering.witnesses import Witnesses


class Halves(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x[: x.shape[0] // 2] * y


def export(*dims: Any, half: int = 4) -> torch.export.ExportedProgram:
    shapes = tuple({0: dim} if dim is not None else None for dim in dims)
    inputs = (torch.randn(2 * half, 3), torch.randn(half, 3))
    return torch.export.export(Halves(), inputs, dynamic_shapes=shapes)


def test_static_program_has_one() -> None:
    assert len(Witnesses(export(None, None))) == 1


def test_related_sizes_stay_related() -> None:
    half = Dim("half", min=2, max=100)
    program = export(2 * half, half)
    witnesses = Witnesses(program)
    x, y = (n.meta["val"] for n in program.graph.nodes if n.op == "placeholder")
    pairs = list(zip(witnesses.evaluate(x.shape[0]), witnesses.evaluate(y.shape[0]), strict=True))
    assert len(set(pairs)) == len(pairs) > 1
    assert all(a == 2 * b for a, b in pairs)


@pytest.mark.parametrize(("low", "high"), [(2, 3), (2, 100), (5, 7), (4, None)])
def test_values_lie_in_the_range_and_differ(low: int, high: int | None) -> None:
    half = Dim("half", min=low, max=high)
    program = export(2 * half, half, half=low + 1)
    witnesses = Witnesses(program)
    placeholder = next(n for n in program.graph.nodes if n.op == "placeholder")
    values = [v // 2 for v in witnesses.evaluate(placeholder.meta["val"].shape[0])]
    assert len(set(values)) > 1
    assert all(low <= v <= (high or v) for v in values)


def test_rotation_keeps_the_assignments() -> None:
    half = Dim("half", min=2, max=100)
    program = export(2 * half, half)
    witnesses = Witnesses(program)
    placeholder = next(n for n in program.graph.nodes if n.op == "placeholder")
    size = placeholder.meta["val"].shape[0]
    first, rotated = witnesses.evaluate(size), witnesses.rotate().evaluate(size)
    assert sorted(first) == sorted(rotated)
    assert first != rotated


def test_values_satisfy_what_export_guards_on() -> None:
    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, 8)

    axes = ({0: Dim.AUTO(min=2, max=3), 1: Dim.AUTO(min=4, max=26)},)
    program = torch.export.export(Rows(), (torch.randn(2, 12),), dynamic_shapes=axes)
    witnesses = Witnesses(program)
    placeholder = next(n for n in program.graph.nodes if n.op == "placeholder")
    shapes = witnesses.evaluate_shape(placeholder.meta["val"].shape)
    assert len(set(shapes)) > 1
    for rows, columns in shapes:
        assert rows * columns % 8 == 0
        assert 2 <= rows <= 3
        assert 4 <= columns <= 26
