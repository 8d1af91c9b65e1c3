"""What ExecuTorch refuses to write is known before: plan, lowering and ExecuTorch agree."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from executorch.runtime import Runtime
from torch import Tensor, nn
from torch.export import ExportedProgram

import mlx_coverage.runtime
from mlx_coverage.analyze.capture import (
    Capture,
    Lowering,
    export_methods,
    lower_methods,
    plan_methods,
)
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.registry.reasons import INTERFACE

WRITE = "aten.add.Tensor"


@dataclass
class Unnamed:
    value: Tensor


@dataclass
class Named:
    value: Tensor


class Pair(NamedTuple):
    first: Tensor
    second: list[Tensor]


torch.export.register_dataclass(Unnamed)
torch.export.register_dataclass(Named, serialized_type_name="tests.analyze.Named")


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class WriteState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(3))

    def forward(self, x: Tensor) -> None:
        self.state.add_(x)


class Count(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(3))

    def forward(self) -> Tensor:
        self.state.add_(1)
        return self.state * 2


def write_input(x: Tensor) -> None:
    x.add_(1)


def zeros_of_bounded_size(x: Tensor) -> Tensor:
    size = x.int().sum().item()
    torch._check(size <= 1000)
    return torch.zeros(size) + 1


@torch.library.custom_op("interface_tests::halve", mutates_args=())
def halve(x: Tensor) -> list[Tensor]:
    return [part.clone() for part in x.chunk(2, 1)]


halve.register_fake(lambda x: [part.clone() for part in x.chunk(2, 1)])


def plan_and_lower(model: nn.Module, x: Tensor, **options: Any) -> tuple[Capture, Lowering]:
    make = partial(MLXPartitioner, **options)
    return plan_methods(export(model, x), make), lower_methods(export(model, x), make)


def export(model: nn.Module, x: Tensor, dynamic: Any = None) -> dict[str, ExportedProgram]:
    return export_methods({"forward": Exportable(model, (x,), dynamic_shapes=dynamic)})


@pytest.mark.parametrize(
    ("model", "x", "says"),
    [
        (Apply(torch.cos), torch.ones(3, 1).expand(3, 2), "example input x is expanded"),
        (Apply(lambda x: (x.cos(), "text")), torch.ones(3), "returns a str"),
        (Apply(lambda x: x.shape[0]), torch.ones(3), "returns no tensor"),
        (Apply(lambda x: None), torch.ones(3), "returns no tensor"),
        (WriteState(), torch.ones(3), "returns no tensor"),
        (Apply(lambda x: [Unnamed(x.cos())]), torch.ones(3), "Unnamed is registered"),
        (Apply(lambda x: x.max(0)), torch.ones(3), "no named tuples (max)"),
        (Apply(lambda x: Pair(x + 1, [x])), torch.ones(3), "no named tuples (Pair)"),
        (Apply(lambda x: [{"a": x.sort(0)}]), torch.ones(3), "no named tuples (sort)"),
        (Apply(lambda n: torch.zeros(n.item()) + 1), torch.tensor(3), "has no upper bound"),
    ],
)
def test_refused(model: nn.Module, x: Tensor, says: str) -> None:
    planned, lowered = plan_and_lower(model, x)
    for found in (planned.refused, lowered.refused):
        assert found is not None
        assert found.kind is INTERFACE
        assert says in found.sentence
    with pytest.raises(Exception):  # noqa: B017, PT011  (ExecuTorch's: of several types)
        lowered.lowered.to_executorch()


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (Apply(lambda x: (x.cos(), None, 3, 2.5, True)), {}),
        (Apply(write_input), {}),
        (WriteState(), {"exclude_ops": [WRITE]}),  # the state stays with ExecuTorch
        (Apply(lambda x: [Named(x.cos())]), {}),
        (Apply(zeros_of_bounded_size), {}),
        (Apply(lambda x: torch.zeros(x.int().sum().item()).sum()), {}),  # inside the delegate
    ],
)
def test_taken(model: nn.Module, options: dict[str, Any]) -> None:
    planned, lowered = plan_and_lower(model, torch.ones(3), **options)
    assert planned.refused is lowered.refused is None
    lowered.lowered.to_executorch()


class Increment(nn.Module):
    def forward(self, n: int) -> int:
        return n + 1


def test_numbers_alone() -> None:
    for capture in (plan_methods, lower_methods):
        found = capture(export_methods({"forward": Exportable(Increment(), (3,))}), MLXPartitioner)
        assert found.refused is not None
        assert "returns no tensor" in found.refused.sentence


def test_fixed_size() -> None:
    model, x = Apply(lambda x: torch.mul(*halve(x))), torch.ones(3, 4)
    dynamic = ({0: torch.export.Dim("n", min=1, max=8)},)
    for capture in (plan_methods, lower_methods):
        refused = capture(export(model, x, dynamic), MLXPartitioner).refused
        assert refused is not None
        assert "the dynamic dimension 0 of the input x at the example's size 3" in refused.sentence
        refused = capture(export(model, x), MLXPartitioner).refused
        assert refused is not None  # of a static size, too: it is a custom op without a kernel
        assert "halve.default has no out variant" in refused.sentence


def test_numbers_without_an_input() -> None:
    programs = export_methods({"forward": Exportable(Count(), ())})
    for capture in (plan_methods, lower_methods):
        refused = capture(programs, MLXPartitioner).refused
        assert refused is not None
        assert "takes no inputs" in refused.sentence
        assert refused.kind is INTERFACE


class Scale(nn.Module):
    def forward(self, x: Tensor, factor: int) -> Tensor:
        return x * factor


def test_number_that_may_change() -> None:
    given = Exportable(Scale(), (torch.ones(3), 4), dynamic_shapes=(None, torch.export.Dim.DYNAMIC))
    for capture in (plan_methods, lower_methods):
        found = capture(export_methods({"forward": given}), MLXPartitioner)
        assert found.refused is not None
        assert "the input factor is a number that may change" in found.refused.sentence
    mlx_coverage.runtime.load()
    # ExecuTorch writes such a program, and no number is right in it.
    method = Runtime.get().load_program(found.lowered.to_executorch().buffer).load_method("forward")
    with pytest.raises(RuntimeError, match="set_inputs"):
        method.execute([torch.ones(3), 4])
