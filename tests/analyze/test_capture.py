"""Capture: forms of a model, failures with the user's line, and no change to the user's program."""

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Graph
from torch.nn.attention.flex_attention import flex_attention

from mlx_coverage.analyze.attest import attest, attest_methods
from mlx_coverage.analyze.capture import (
    Capture,
    Lowering,
    export_methods,
    lower_methods,
    plan_methods,
)
from mlx_coverage.analyze.failures import AttestationError, CaptureError
from mlx_coverage.analyze.load import Exportable, open_model
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Delegated, Fallback, PartitionPlan
from mlx_coverage.registry.reasons import EXCLUDED, Reason
from tests.cli import models
from tests.lowering.plans import describe_plan

make = partial(MLXPartitioner, _plan_only=True)


class Running(nn.Module):
    """A sum that is kept between calls, beside a weight and an op that falls back."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.ones(3))
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x)
        return self.linear(self.total * 2).double().tanh().float().cos()


def export(module: nn.Module, *args: Any) -> ExportedProgram:
    return export_methods({"forward": Exportable(module, args)})["forward"]


def lower(module: nn.Module, *args: Any) -> Lowering:
    return lower_methods({"forward": export(module, *args)}, make)


def describe(program: ExportedProgram) -> list[Any]:
    return [
        str(program.graph),
        str(program.graph_signature),
        {name: (id(tensor), tensor.tolist()) for name, tensor in program.state_dict.items()},
        list(program.constants),
        [sorted(node.meta) for node in program.graph.nodes],
    ]


def test_users_program_stays_as_it_was() -> None:
    program = export(Running(), torch.ones(3))
    before = describe(program)
    plan_methods({"forward": program}, make)
    lower_methods({"forward": program}, MLXPartitioner)
    assert describe(program) == before


def list_graphs(name: str) -> list[Graph]:
    """The graphs in memory that hold a node of the name."""
    gc.collect()
    graphs = [found for found in gc.get_objects() if isinstance(found, Graph)]
    return [graph for graph in graphs if any(node.name == name for node in graph.nodes)]


def test_export_leaves_no_graph_behind() -> None:
    program = export(Running(), torch.ones(3))
    (graph,) = set(list_graphs("tanh"))
    assert graph is program.graph


def test_program_that_can_be_had_again_is_freed_on_the_way() -> None:
    methods = {"forward": Exportable(Running(), (torch.ones(3),))}
    expected = plan_methods(export_methods(methods), make).plans["forward"]
    programs = export_methods(methods)
    graph = weakref.ref(programs["forward"].graph)
    alive: dict[str, bool] = {}

    @contextmanager
    def follow(stage: str) -> Iterator[None]:
        alive[stage.split()[0]] = graph() is not None
        yield

    planned = plan_methods(programs, make, follow, lambda name: export_methods(methods)[name])
    assert alive == {"decomposing": True, "converting": False, "planning": False}
    assert not programs
    assert describe_plan(planned.plans["forward"]) == describe_plan(expected)


class Layers(nn.Module):
    """Layers that are called on one line, and a graph module among them."""

    def __init__(self) -> None:
        super().__init__()
        traced = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), traced])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).sin()
        return x


def test_exported_program_is_torchs_own(tmp_path: Path) -> None:
    """It runs, is saved and printed, and its nodes tell lines and modules, once for all."""
    module, x = Layers().eval(), torch.ones(2, 3)
    program, expected = export(module, x), torch.export.export(module, (x,))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    theirs = [node for node in expected.graph.nodes if node.op == "call_function"]
    for key in ("stack_trace", "nn_module_stack", "torch_fn"):
        told = [n.meta[key] for n in nodes]
        assert told == [n.meta[key] for n in theirs]
        assert len(set(map(id, told))) == len({str(value) for value in told})
    assert str(program) == str(expected)
    torch.testing.assert_close(program.module()(x), module(x))
    torch.testing.assert_close(program.graph_module(*program.state_dict.values(), x)[0], module(x))
    torch.export.save(program, tmp_path / "saved.pt2")
    again = torch.export.load(tmp_path / "saved.pt2")
    torch.testing.assert_close(again.module()(x), module(x))


@pytest.mark.parametrize(
    "spec", ["supported.py", "supported:get_model", "saved.pt2", "supported.py::exported"]
)
def test_forms_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "supported.py").write_text(models.SUPPORTED)
    torch.export.save(export(nn.ReLU(), torch.ones(2)), tmp_path / "saved.pt2")
    path = list(sys.path)
    with open_model(spec) as methods:
        programs = export_methods(methods)
    assert list(programs) == ["forward"]
    assert sys.path == path
    sys.modules.pop("supported", None)


def test_siblings_of_a_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "sibling_of_model.py").write_text("size = 4")
    file = tmp_path / "net.py"
    file.write_text(
        models.PREAMBLE
        + "import sibling_of_model\nmodel = nn.ReLU()\n"
        + "example_inputs = (torch.ones(sibling_of_model.size),)\n"
        + "dynamic_shapes = ({0: torch.export.Dim('n', min=2, max=9)},)\n"
    )
    with open_model(str(file)) as methods:
        program = export_methods(methods)["forward"]
    assert program.range_constraints
    sys.modules.pop("sibling_of_model", None)


def test_failure_points_at_the_users_line() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x  # the line

    with pytest.raises(CaptureError) as caught:
        export(Branch(), torch.ones(2))
    failure = caught.value
    assert failure.stage == "export"
    assert failure.source.code == "return x if x.sum() > 0 else -x  # the line"
    assert failure.source.file is not None
    assert failure.source.file.endswith("test_capture.py")
    assert "\n" not in failure.sentence


@pytest.mark.parametrize("take", [plan_methods, lower_methods])
def test_function_on_sizes_that_executorch_refuses_is_named_with_its_line(
    take: Callable[..., Capture],
) -> None:
    class Enlarge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(x, scale_factor=2**0.5, mode="bilinear")  # the line

    shapes = ({2: Dim("height", max=64)},)
    given = Exportable(Enlarge(), (torch.ones(1, 2, 4, 6),), {}, shapes)
    found = take(export_methods({"forward": given}), make)
    (refusal,) = [r for r in found.refusals if "torch.sym_float" in r.sentence]
    assert refusal.stage == "edge"
    assert "torch.sym_float of dynamic sizes" in refusal.sentence
    assert (refusal.source.code or "").endswith("# the line")
    assert found.plans["forward"].placements


class Relative(nn.Module):
    def forward(self, q: Tensor) -> Tensor:
        found = flex_attention(q, q, q, score_mod=lambda score, b, h, i, j: score + (i - j))
        assert isinstance(found, Tensor)
        return found


def test_functions_that_executorch_leaves_unconverted() -> None:
    programs = export_methods({"forward": Exportable(Relative(), (torch.randn(1, 2, 16, 16),))})
    for capture in (plan_methods, lower_methods):
        refused = capture(programs, MLXPartitioner).refused
        assert refused is not None
        assert refused.sentence.startswith("ExecuTorch cannot lower flex_attention")
        assert "call torch.nn.functional.scaled_dot_product_attention" in refused.sentence
        assert "flex_attention(q, q, q" in (refused.source.code or "")


def test_dynamic_sizes_are_planned() -> None:
    given = Exportable(nn.ReLU(), (torch.ones(4, 3),), {}, ({0: Dim("n", min=2, max=64)},))
    planned = plan_methods(export_methods({"forward": given}), make)
    assert planned.plans["forward"].delegated == 1


def falsify(plan: PartitionPlan, index: int, placement: Delegated | Fallback) -> PartitionPlan:
    node = list(plan.placements)[index]
    return PartitionPlan({**plan.placements, node: placement}, plan.partitions, plan.verdicts)


def test_attestation_notices_any_difference() -> None:
    planned = lower(Running(), torch.ones(3))
    attest_methods(planned.plans, planned.lowered)
    plan = planned.plans["forward"]
    graph = planned.lowered.exported_program().graph_module
    places = list(plan.placements.values())
    assert {type(place) for place in places} == {Delegated, Fallback}
    for index, place in enumerate(places):
        other = (
            Fallback((Reason(EXCLUDED, "a lie"),)) if isinstance(place, Delegated) else Delegated(0)
        )
        with pytest.raises(AttestationError):
            attest(falsify(plan, index, other), graph)
    partitions = {place.partition for place in places if isinstance(place, Delegated)}
    assert partitions == {0, 1}
    merged = PartitionPlan(
        {n: Delegated(0) if isinstance(p, Delegated) else p for n, p in plan.placements.items()},
        plan.partitions,
        plan.verdicts,
    )
    with pytest.raises(AttestationError, match="group"):
        attest(merged, graph)


class WritesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x[:, 0] = 0
        x.mul_(2)
        return x + 1


class FillsSlice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 0] = 0
        return y


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (WritesInput(), torch.ones(3, 4)),
        (FillsSlice(), torch.ones(3, 4)),
        (nn.EmbeddingBag(10, 4), torch.tensor([[1, 2, 0]])),
    ],
    ids=lambda v: type(v).__name__,
)
def test_plan_is_what_is_lowered(module: nn.Module, x: Tensor) -> None:
    programs = {"forward": export(module, x)}
    planned = plan_methods(programs, make)
    assert planned.refused is None
    assert planned.plans["forward"].delegated
    attest_methods(planned.plans, lower_methods(programs, make).lowered)


class Widened(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double() + 1


@pytest.mark.parametrize("freed", [False, True])
def test_layout_that_executorch_refuses_is_no_defect_of_ours(freed: bool) -> None:
    def export_again(name: str) -> ExportedProgram:
        return export(Widened(), torch.ones(6, 4).t())

    programs = {"forward": export_again("forward")}
    refused = plan_methods(programs, make, again=export_again if freed else None).refused
    assert refused is not None
    assert refused.stage == "edge"


@pytest.mark.parametrize(
    ("loss", "inputs", "says"),
    [
        (
            nn.CTCLoss(),
            (torch.zeros(6, 2, 5), torch.ones(2, 3).long(), *torch.tensor([[6, 6], [3, 3]])),
            r"cannot trace aten\._ctc_loss\.Tensor, whose result depends on the values",
        ),
        (
            nn.GaussianNLLLoss(),
            (torch.ones(3), torch.ones(3), torch.ones(3)),
            r"branch on the values of a tensor \(.*in gaussian_nll_loss\)",
        ),
        (
            nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10]),
            (torch.ones(4, 8), torch.arange(4)),
            r"branch on the values of a tensor \(nn/modules/adaptive\.py:\d+ in forward\)",
        ),
    ],
)
def test_what_torch_does_not_export_is_one_sentence(
    loss: nn.Module, inputs: tuple[Tensor, ...], says: str
) -> None:
    with pytest.raises(CaptureError, match=says) as failure:
        export(loss, *inputs)
    assert failure.value.stage == "export"


def test_model_that_torch_cannot_functionalise_is_no_defect_of_ours() -> None:
    program = export(nn.CrossMapLRN2d(3), torch.ones(1, 4, 3, 3))
    for capture in (plan_methods, lower_methods):
        refused = capture({"forward": program}, make).refused
        assert refused is not None
        assert "torch cannot functionalise" in refused.sentence
        assert refused.stage == "edge"
