"""From a partition to a recorded program, and back by the interpreter."""

import operator
from typing import Any

import mlx.core as real
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mlx_coverage.lowering.interpreter import run_program
from mlx_coverage.lowering.recorder import RecordError
from mlx_coverage.lowering.translation import translate
from mlx_coverage.registry.mx import mx
from tests.lowering.registries import aten, make_registry


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


@pytest.mark.parametrize(
    "freeze",
    [
        lambda self: mx.broadcast_to(mx.sum(self), (len(range(self.shape[0])),)),
        lambda self: mx.broadcast_to(mx.sum(self), (len([0] * self.shape[0]),)),
        lambda self: mx.multiply(self, int.__index__(self.shape[0])),
        lambda self: mx.multiply(self, min(self.shape[0], 20)),
    ],
    ids=["range", "repeat", "index", "min"],
)
def test_frozen_size_is_refused(freeze: Any) -> None:
    class Negative(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -x

    model, x = Negative(), torch.randn(8)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim("size", min=2)},))
    with pytest.raises(RecordError):
        translate(program, make_registry({aten.neg.default: freeze}))


def test_wrong_shape_is_refused_at_lowering() -> None:
    program = torch.export.export(Sum(), (torch.randn(3, 4),))
    registry = make_registry({aten.add.Tensor: lambda self, other: mx.sum(self, axis=0)})
    with pytest.raises(RecordError, match=r"aten\.add\.Tensor.*shape.*torch has"):
        translate(program, registry)


def test_mlx_error_names_the_op() -> None:
    program = torch.export.export(Sum(), (torch.randn(3, 4),))
    registry = make_registry({aten.add.Tensor: lambda self, other: mx.matmul(self, other)})
    with pytest.raises(RecordError, match=r"aten\.add\.Tensor.*\[matmul\]"):
        translate(program, registry)


def test_calls_that_nothing_reads_are_dropped() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.split(x, [1, 2])[0]

    program = torch.export.export(Half(), (torch.randn(3),))
    registry = make_registry({aten.neg.default: lambda self: (mx.exp(self), mx.negative(self))[1]})
    recording = translate(program, registry)
    assert [call.function for call in recording.program.calls] == ["split"]


class Scaled(nn.Module):
    """Adds a constant that is itself computed from two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.arange(3.0))
        self.second = nn.Parameter(torch.ones(3) * 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + (-(self.first + self.second))


def test_weights_alone_are_computed_once() -> None:
    program = torch.export.export(Scaled(), (torch.randn(3),))
    recording = translate(program, make_registry())
    assert [call.function for call in recording.program.calls] == ["add"]
    (constant,) = recording.program.constants
    weight = recording.weights[constant.key].load()
    assert weight.tolist() == [-2.0, -3.0, -4.0]
    x = real.array([10.0, 20.0, 30.0])
    (result,) = run_program(recording.program, [x], {constant.slot: weight}, [])
    assert result.tolist() == [8.0, 17.0, 26.0]


def test_folding_leaves_no_slot_empty() -> None:
    recording = translate(torch.export.export(Scaled(), (torch.randn(3),)), make_registry())
    (call,) = recording.program.calls
    assert recording.program.arrays == 3  # the input, the constant and their sum
    assert call.results == (recording.program.outputs[0].slot,)


def test_large_results_of_weights_are_not_folded() -> None:
    class Broadcast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.row = nn.Parameter(torch.arange(64.0))
            self.column = nn.Parameter(torch.ones(64, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x + (self.row + self.column)

    program = torch.export.export(Broadcast(), (torch.randn(64, 64),))
    recording = translate(program, make_registry())
    assert [call.function for call in recording.program.calls] == ["add", "add"]
    assert sum(weight.nbytes for weight in recording.weights.values()) == 2 * 64 * 4


def test_equal_weights_have_one_key() -> None:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.arange(3.0))
            self.second = nn.Parameter(torch.arange(3.0))

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return x + self.first, y + self.second

    program = torch.export.export(Twins(), (torch.randn(3), torch.randn(3)))
    assert len(translate(program, make_registry()).weights) == 1


def test_size_is_input_and_output() -> None:
    class Counted(nn.Module):
        def forward(self, x: Tensor, n: int) -> tuple[Tensor, int]:
            return x + x, n * 2

    program = torch.export.export(
        Counted(), (torch.randn(3), 4), dynamic_shapes=(None, Dim.DYNAMIC)
    )
    registry = make_registry({operator.mul: lambda a, b: a * b})
    recorded = translate(program, registry).program
    doubled, number = run_program(recorded, [real.array([1.0, 2.0, 3.0]), 21], {}, [])
    assert (doubled.tolist(), number) == ([2.0, 4.0, 6.0], 42)


def test_states_change_in_the_interpreter_too() -> None:
    class Accumulator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.tensor([1.0, 2.0]))

        def forward(self, x: Tensor) -> Tensor:
            self.total.add_(x)
            return -self.total

    program = torch.export.export(Accumulator(), (torch.randn(2),)).run_decompositions({})
    recording = translate(program, make_registry())
    (state,) = recording.program.states
    assert state.key is not None
    states = [recording.weights[state.key].load()]
    x = real.array([1.0, 1.0])
    for expected in ([-2.0, -3.0], [-3.0, -4.0]):
        (result,) = run_program(recording.program, [x], {}, states)
        assert result.tolist() == expected
