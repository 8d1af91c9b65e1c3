"""Counts, groups, folded layers and segments of a report; sources of nodes."""

from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage.analyze.capture import Capture, export_methods, plan_methods
from mlx_coverage.analyze.failures import CaptureError
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.model import (
    NONE,
    Constants,
    CoverageReport,
    Figures,
    MethodReport,
    ModulePath,
    Source,
    from_json,
    to_json,
)
from mlx_coverage.analyze.sources import Frame, locate_frames, parse_stack
from mlx_coverage.analyze.summarize import fold_modules, summarize
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.reasons import DECOMPOSITION_FAILED, NO_KERNEL
from mlx_coverage.report import render_text
from tests.analyze.planning import make_plan

make = partial(MLXPartitioner, _plan_only=True)


class Block(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) + nn.functional.gelu(x)


class Stack(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def check(module: nn.Module, *args: Tensor, **options: object) -> CoverageReport:
    programs = export_methods({"forward": Exportable(module, args)})
    return summarize("model", plan_methods(programs, partial(make, **options)))


def test_identical_layers_are_folded() -> None:
    report = check(Stack(12), torch.ones(3), exclude_ops=["aten.sin.default"])
    (method,) = report.methods
    (finding,) = method.findings
    assert finding.op == "aten.sin.default"
    assert finding.count == 12
    assert finding.modules == (ModulePath("blocks.*", 12, 12),)
    assert finding.source.code == "return torch.sin(x) + nn.functional.gelu(x)"
    assert finding.source.provenance == "exact"


def test_every_figure_counts_the_same_nodes() -> None:
    (method,) = check(Stack(3), torch.ones(3), exclude_ops=["aten.sin.default"]).methods
    assert method.nodes == 9
    assert method.delegated == sum(op.delegated for op in method.ops)
    assert method.nodes == sum(op.nodes for op in method.ops)
    assert method.nodes == sum(segment.nodes for segment in method.segments)
    assert method.fallback == sum(finding.count for finding in method.findings)
    on_mlx = [segment for segment in method.segments if segment.device == "mlx"]
    assert len(on_mlx) == method.partitions
    assert [segment.partition for segment in on_mlx] == list(range(method.partitions))


def test_segments_alternate() -> None:
    (method,) = check(Stack(3), torch.ones(3), exclude_ops=["aten.sin.default"]).methods
    cpu = [segment.device == "cpu" for segment in method.segments]
    assert not any(a and b for a, b in pairwise(cpu))


class Classifier(nn.Module):
    """A tied weight, a buffer that is written, and ops that stay with ExecuTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.add_(1.0)
        values, order = torch.sort(self.linear(x))
        return torch.sin(values) + torch.nn.functional.linear(x, self.linear.weight), order


def summarize_plan(module: nn.Module, *args: Tensor, **options: Any) -> CoverageReport:
    return summarize("model", Capture({"forward": make_plan(module, *args, **options)}))


@pytest.fixture(scope="module")
def classified() -> MethodReport:
    exclude = [torch.ops.aten.sort.default, torch.ops.aten.sin.default]
    report = summarize_plan(Classifier(), torch.ones(3, 4), exclude=exclude)
    assert report.missing == ()
    assert from_json(to_json(report)) == report
    return report.methods[0]


def test_columns_of_the_graph_add_up(classified: MethodReport) -> None:
    method, graph = classified, classified.graph
    columns = (graph.op, graph.place, graph.source, graph.segment, graph.finding, graph.result)
    assert {len(column) for column in (*columns, graph.flops, graph.bytes)} == {method.nodes}
    assert Counter(method.ops[i].op for i in graph.op) == {o.op: o.nodes for o in method.ops}
    assert Counter(graph.segment) == {i: s.nodes for i, s in enumerate(method.segments)}
    assert Counter(graph.finding) == {
        NONE: method.delegated, **{i: f.count for i, f in enumerate(method.findings)},
    }  # fmt: skip
    assert sum(graph.bytes) == method.total.bytes
    assert sum(flops for flops in graph.flops if flops != NONE) == method.total.flops > 0
    assert graph.flops.count(NONE) == method.total.unmodelled == 0
    assert "float32 [3, 4], int64 [3, 4]" in graph.results
    assert all(a < b for a, b in zip(graph.edges_from, graph.edges_to, strict=True))


def test_figures_of_the_parts_add_up(classified: MethodReport) -> None:
    method = classified
    assert sum((s.figures for s in method.segments), Figures()) == method.total
    assert sum((f.figures for f in method.findings), Figures()) == method.cpu
    assert method.modules[0].total == method.total
    assert method.modules[0].mlx == method.mlx


def test_a_tensor_counts_once_among_the_constants(classified: MethodReport) -> None:
    assert classified.constants == Constants(
        tensors=2, bytes=(16 + 4) * 4, mlx_bytes=(16 + 4) * 4, cpu_bytes=0, state_bytes=8
    )


def test_fallback_without_a_kernel_is_said_beside_the_reason(classified: MethodReport) -> None:
    slugs = {f.op: (f.reason.slug, [o.slug for o in f.others]) for f in classified.findings}
    assert slugs == {
        "aten.sort.default": ("plan/excluded", ["runtime/no-kernel"]),
        "aten.sin.default": ("plan/excluded", []),
    }
    assert classified.kernels_missing == ("aten.sort.default",)


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x)[0].view(-1, 1)


def test_culprit_with_several_results_is_named() -> None:
    report = summarize_plan(Sorted(), torch.ones(4), exclude=[torch.ops.aten.sort.default])
    (finding,) = report.methods[0].findings
    assert finding.op == "aten.sort.default"
    assert {count.op for count in finding.ops} == {"aten.sort.default", "aten.view.default"}
    culprits = {other.slug: other.culprit for other in finding.others}
    assert culprits["plan/only-neighbours-fall-back"] == "aten.sort.default"


def test_several_refusals_are_all_kept() -> None:
    plans = {"forward": make_plan(Sorted(), torch.ones(4), exclude=[torch.ops.aten.sort.default])}
    first = CaptureError("edge", DECOMPOSITION_FAILED, "the first", Source("a.py", 1))
    second = CaptureError("edge", NO_KERNEL, "the second", Source("a.py", 2))
    for refused, said in (((first,), 1), ((first, second), 2)):
        report = summarize("model", Capture(plans, refused))
        assert report.failure is not None
        sentences = [refusal.sentence for refusal in report.failure.refusals]
        assert sentences == ["the first", "the second"][:said]
        assert report.outcome == "does not lower"
        assert report.methods[0].findings


def test_standing_of_every_op() -> None:
    report = summarize_plan(Classifier(), torch.ones(3, 4))
    ops = {op.op for method in report.methods for op in method.ops}
    assert [status.op for status in report.statuses] == sorted(ops)
    registry = default_registry()
    for status in report.statuses:
        limited = bool(registry.by_name[status.op].limitations)
        assert (status.standing, bool(status.notes)) == (("full", "partial")[limited], limited)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("measure_node", "cost of aten."),
        ("read_excerpts", "source"),
        ("find_missing_kernels", "missing kernels"),
        ("find_wrong_kernels", "wrong kernels"),
        ("Search", "blockers"),
    ],
)
def test_a_part_that_fails_leaves_the_rest(
    monkeypatch: pytest.MonkeyPatch, part: str, said: str
) -> None:
    def fail(*args: object) -> None:
        raise ArithmeticError("out of luck")

    exclude = [torch.ops.aten.sin.default]
    plan = make_plan(Block(), torch.ones(3), exclude=exclude)
    whole = summarize("model", Capture({"forward": plan}))
    monkeypatch.setattr(f"mlx_coverage.analyze.summarize.{part}", fail)
    report = summarize("model", Capture({"forward": plan}))
    assert whole.missing == ()
    assert all(s.startswith(said) and "out of luck" in s for s in report.missing)
    assert report.missing
    assert (report.nodes, report.delegated) == (whole.nodes, whole.delegated)
    assert [f.op for f in report.methods[0].findings] == ["aten.sin.default"]
    assert "out of luck" in render_text(report)
    if part == "measure_node":
        assert report.total.unmodelled == report.nodes


@pytest.mark.parametrize(
    ("paths", "folded"),
    [
        ([""], [("", 1)]),
        (["layers.0.a", "layers.1.a", "layers.1.a"], [("layers.*.a", 2)]),
        (["layers.3.a"], [("layers.3.a", 1)]),
        (["a.0.b.1", "a.1.b.0"], [("a.*.b.*", 2)]),
        (["layer2.x", "layer3.x"], [("layer2.x", 1), ("layer3.x", 1)]),
        (["h.0", "h.1", "g"], [("h.*", 2), ("g", 1)]),
    ],
)
def test_fold(paths: list[str], folded: list[tuple[str, int]]) -> None:
    found = fold_modules(paths)
    assert [(m.path, m.instances) for m in found] == folded
    assert sum(m.nodes for m in found) == len(paths)


TORCH = str(Path(torch.__file__).parent / "nn/functional.py")
PACKAGE = "/env/lib/python3.11/site-packages/package/net.py"


@pytest.mark.parametrize(
    ("files", "place", "provenance", "via"),
    [
        (["/home/me/net.py"], "/home/me/net.py:1", "exact", None),
        (["/home/me/net.py", TORCH], "/home/me/net.py:1", "exact", None),
        (["/home/me/net.py", PACKAGE, TORCH], "/home/me/net.py:1", "inherited", "package/net.py:2"),
        ([PACKAGE, "/home/me/net.py"], "/home/me/net.py:2", "exact", None),
        ([PACKAGE, TORCH], "package/net.py:1", "inherited", None),
        ([TORCH], "", "none", None),
        (["<eval_with_key>.3"], "", "none", None),
        (["torch/fx/passes/no_such_pass.py"], "", "none", None),
        ([], "", "none", None),
    ],
)
def test_frames(files: list[str], place: str, provenance: str, via: str | None) -> None:
    source = locate_frames([Frame(file, i + 1, "code") for i, file in enumerate(files)])
    assert (source.place, source.provenance, source.via) == (place, provenance, via)


def test_stack_of_a_node() -> None:
    text = 'File "/a b/n.py", line 3, in forward\n    y = f(x)\n  File "m.py", line 4\nnonsense'
    assert parse_stack(text) == (Frame("/a b/n.py", 3, "y = f(x)"), Frame("m.py", 4, "nonsense"))
    assert parse_stack(None) == ()
