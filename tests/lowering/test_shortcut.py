"""The shortcut gives what the public pipeline gives, and whatever breaks it takes that way."""

import ast
import copy
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.exir.program._program import _default_decomposition_table
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.capture import lower_methods, plan_methods
from mlx_coverage.lowering import shortcut
from mlx_coverage.lowering.pipeline import defer_code, run_decompositions
from tests.lowering.plans import describe_plan

aten = torch.ops.aten
N = Dim("n", min=2, max=64)


class Module(nn.Module):
    """A function of the module and `x`, with a weight, a buffer and a counter at hand."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("state", torch.ones(3, 4))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def write_through_view(m: Module, x: Tensor) -> Any:
    row = m.state[0]
    row.add_(x.sum(0))
    m.state[1:].mul_(2)
    return m.state * 2, row + 1


def write_twice(m: Module, x: Tensor) -> Any:
    m.count.add_(1)
    before = m.count * 2
    m.count += x.shape[0]
    return before, m.count


def write_after_view_of_result(m: Module, x: Tensor) -> Any:
    y = x + 1
    part = y.view(-1)
    y[:, 0].zero_()
    return part.sum(), y.reshape(-1).add_(1), x


def write_input(m: Module, x: Tensor) -> Any:
    x.mul_(2)
    return x + 1


def regions(m: Module, x: Tensor) -> Any:
    y = m.linear(x)
    with torch.no_grad():
        angles = torch.cat([y.detach().double(), x.double()], -1)
        scale = angles.cos().float()
    with torch.autocast("cpu", enabled=False):
        return (y.to(torch.float16).float() * scale[:, :4]).contiguous()


def sizes(m: Module, x: Tensor) -> Any:
    positions = torch.arange(x.shape[0] + 1, device=x.device)
    longer = torch.cat([x, x[:1]])
    steps = torch.diff(positions, prepend=positions[:1] - 1)
    return longer * steps[:, None], x.new_ones(x.shape[0] * 2)


def several_results(m: Module, x: Tensor) -> Any:
    first, second = m.norm(x).chunk(2, -1)
    values, _ = x.topk(2, -1)
    return m.dropout(first) * second, values, 3, None


def constants(m: Module, x: Tensor) -> Any:
    return x * torch.tensor([1.0, 2.0, 3.0, 4.0]) + torch.tensor(2.0)


def write_number(m: Module, x: Tensor) -> Any:
    y = x.clone()
    y[:, 0] = 0
    return y


def branch(m: Module, x: Tensor) -> Any:
    return torch.cond(x.sum() > 0, lambda y: y.cos(), lambda y: y.sin(), (x,))


def data_dependent(m: Module, x: Tensor) -> Any:
    return x[x.sum(1) > 0].relu()


def resize(m: Module, x: Tensor) -> Any:
    return nn.functional.interpolate(x[None], scale_factor=1.5, mode="linear", align_corners=True)


FUNCTIONS = (
    write_through_view, write_twice, write_after_view_of_result, write_input, regions, sizes,
    several_results, constants, write_number, branch, data_dependent, resize,
)  # fmt: skip


def describe(program: ExportedProgram) -> list[Any]:
    """Nodes with their results, and what the signature says of inputs and outputs."""
    nodes = list(program.graph.nodes)
    positions = {node: index for index, node in enumerate(nodes)}

    def value(found: Any) -> Any:
        if isinstance(found, Tensor):
            return found.dtype, [str(s) for s in (*found.shape, *found.stride())]
        return [value(f) for f in found] if isinstance(found, (list, tuple)) else str(found)

    calls = [
        # Texts apart: torch numbers nodes in messages, and writes keywords by position.
        (
            str(node.target),
            [positions[source] for source in node.all_input_nodes],
            value(node.meta.get("val")),
        )
        for node in nodes
        if "_assert" not in str(node.target)
    ]
    signature = program.graph_signature
    inputs = [(spec.kind, spec.arg.name, spec.target) for spec in signature.input_specs]
    outputs = [(spec.kind, type(spec.arg), spec.target) for spec in signature.output_specs]
    return [*calls, inputs, outputs]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_equals_torch(function: Callable[..., Any], dynamic: bool) -> None:
    shapes = ({0: N},) if dynamic else None
    module = Module(function).eval()
    program = torch.export.export(module, (torch.randn(3, 4),), dynamic_shapes=shapes)
    before = describe(program)
    functional = run_decompositions(program, {})
    assert describe(functional) == describe(program.run_decompositions({}))
    table = dict(_default_decomposition_table().materialize())
    for op in (aten.linear.default, aten.upsample_linear1d.vec):
        table.pop(op)
    found = run_decompositions(functional, table)
    assert describe(found) == describe(functional.run_decompositions(table))
    assert describe(program) == before
    # Still a program: it runs.
    inputs = torch.randn(3, 4)
    expected = copy.deepcopy(module)(inputs.clone())
    torch.testing.assert_close(found.module()(inputs.clone()), expected, equal_nan=True)


class Scaled(nn.Module):
    def forward(self, x: Tensor, factor: float, negate: bool, count: int) -> Tensor:
        return (-x if negate else x) * factor + count


def test_number_inputs_equal_torch() -> None:
    program = torch.export.export(Scaled(), (torch.randn(3), 2.5, True, 4))
    found = run_decompositions(program, {})
    assert describe(found) == describe(program.run_decompositions({}))


def test_a_decomposition_that_makes_a_constant_is_torchs_to_judge() -> None:
    program = torch.export.export(Module(lambda m, x: x.sin().cos()), (torch.randn(3, 4),))
    table = {aten.sin.default: lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0])}
    with pytest.raises(shortcut.UnexpectedProgramError, match="constants or checks"):
        shortcut.run_decompositions(program, table)


class Stateful(nn.Module):
    """A state, a composite op, a region and an op that falls back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("state", torch.ones(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.state.add_(x)
        with torch.no_grad():
            scale = self.state.double().tanh().float()
        return self.linear(x * scale).cos()


def export_stateful() -> ExportedProgram:
    return torch.export.export(Stateful(), (torch.ones(3, 4),))


def list_private_names() -> list[tuple[str, str]]:
    """What the room imports of torch and ExecuTorch that is private, or from such a module."""
    tree = ast.parse(Path(shortcut.__file__).read_text())
    return [
        (node.module, alias.asname or alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and "mlx_coverage" not in node.module
        for alias in node.names
        if alias.name.startswith("_") or "._" in node.module
    ]


@pytest.mark.parametrize(("module", "name"), list_private_names(), ids=lambda v: v)
def test_a_private_name_that_is_gone_costs_time_alone(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its use raises, as its import would; `check` and `export` give what they gave."""

    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            raise AttributeError(name)

    expected = plan_methods({"forward": export_stateful()}, MLXPartitioner)
    monkeypatch.setattr(shortcut, name, Gone())
    planned = plan_methods({"forward": export_stateful()}, MLXPartitioner)
    assert not planned.refusals
    described = describe_plan(expected.plans["forward"])
    assert describe_plan(planned.plans["forward"]) == described


def test_without_the_room_check_and_export_work(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plan_methods({"forward": export_stateful()}, MLXPartitioner)
    # As after an import that fails.
    monkeypatch.setitem(__import__("sys").modules, "mlx_coverage.lowering.shortcut", None)
    monkeypatch.delattr("mlx_coverage.lowering.shortcut")
    for take in (plan_methods, lower_methods):
        found = take({"forward": export_stateful()}, MLXPartitioner)
        assert not found.refusals
        described = describe_plan(expected.plans["forward"])
        assert describe_plan(found.plans["forward"]) == described


def test_the_shortcut_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="mlx_coverage"):
        assert not plan_methods({"forward": export_stateful()}, MLXPartitioner).refusals
    assert not caplog.records


def test_scopes_without_code_end_in_any_order_and_concern_their_thread() -> None:
    original = torch.fx.GraphModule.recompile
    entered, left = threading.Event(), threading.Event()
    codes: list[str] = []

    def trace() -> str:
        return torch.fx.symbolic_trace(nn.ReLU()).code

    def run() -> None:
        with defer_code():
            entered.set()
            left.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    entered.wait(10)
    codes.append(trace())  # the other thread's scope is not this one's
    with defer_code(), defer_code():
        late = torch.fx.symbolic_trace(nn.ReLU())
    left.set()
    thread.join()
    assert "relu" in codes[0].lower() or "return" in codes[0]
    assert torch.fx.GraphModule.recompile is original
    assert torch.equal(late(-torch.ones(2)), torch.zeros(2))
