"""Programs that users have handled before, or that hold transforms of `torch.func`."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn
from torch.export import ExportedProgram

from mlx_coverage import MLXPartitioner
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import Lowered, lower, run_eagerly


def save_and_load(program: ExportedProgram) -> ExportedProgram:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


def forget_inputs(program: ExportedProgram) -> ExportedProgram:
    bare = copy.copy(program)
    bare._example_inputs = None
    return bare


# A layer's input is called `input`, as a Python builtin is: copying a program renames it.
@pytest.mark.parametrize(
    "handle",
    [copy.deepcopy, save_and_load, forget_inputs, ExportedProgram.run_decompositions],
)
def test_handled_program(handle: Callable[[ExportedProgram], ExportedProgram]) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(3, 4).eval(), torch.randn(2, 3)
    program = handle(torch.export.export(model, (x,)))
    names = [spec.arg.name for spec in program.graph_signature.input_specs]
    partitioner = MLXPartitioner()
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    lowered = Lowered(edge, {"forward": partitioner.plans[-1]})
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(x), run_eagerly(model, x))
    assert names == [spec.arg.name for spec in program.graph_signature.input_specs]


class Transforms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        doubled = {"weight": self.linear.weight * 2, "bias": self.linear.bias}
        return (
            torch.vmap(self.linear)(x),
            torch.vmap(lambda a, b: a * b.sum(), in_dims=(0, None))(x, x),
            torch.func.jvp(torch.sin, (x,), (x,))[1],
            torch.func.functional_call(self.linear, doubled, (x,)),
        )


def test_function_transforms() -> None:
    torch.manual_seed(0)
    model, x = Transforms().eval(), torch.randn(5, 3)
    for _ in range(2):  # the first leaves nothing behind for the next
        lowered = lower(model, x)
        assert lowered.fallbacks() == []
        assert_close(lowered.start()(x), run_eagerly(model, x))
