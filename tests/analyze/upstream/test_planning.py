"""What ExecuTorch's own MLX delegate takes, by its own support check."""

from collections.abc import Iterable

import pytest
import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from executorch.exir.lowered_backend_module import get_lowered_backend_modules
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.analyze import capture
from mlx_coverage.analyze.attest import list_inside
from mlx_coverage.analyze.contrast import Contrast, OpContrast
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.model import CoverageReport, from_json, to_json
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.analyze.upstream.bindings import import_delegate
from mlx_coverage.analyze.upstream.claims import contrast_plans
from mlx_coverage.analyze.upstream.planning import find_functional, plan_upstream
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import is_counted
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.report.contrast import (
    render_contrast,
    render_contrast_json,
    render_contrast_markdown,
)


class Layer(nn.Module):
    """float64 in the middle, which MLX has only on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x)).double().sin().float()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.register_buffer("scale", torch.ones(8), persistent=False)

    def forward(self, x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        for layer in self.layers:
            x = layer(x) * self.scale
        # MLX convolves floats only, and means of integers are rounded.
        return x, nn.functional.avg_pool2d(counts, 2), nn.functional.conv2d(counts, counts[:1])


ARGUMENTS = (torch.ones(2, 8), torch.ones(4, 4, 4, 4, dtype=torch.int64))


@pytest.fixture(scope="module")
def plans() -> tuple[capture.Capture, capture.Capture]:
    """Ours and theirs, of a model without weights."""
    with torch.device("meta"):
        model = Model().eval()
    given = Exportable(model, tuple(tensor.to("meta") for tensor in ARGUMENTS))
    programs = capture.export_methods({"forward": given})
    before = describe_program(programs["forward"])
    theirs = plan_upstream(programs)
    assert describe_program(programs["forward"]) == before
    return capture.plan_methods(programs, MLXPartitioner), theirs


def describe_program(program: ExportedProgram) -> tuple[str, list[str], list[str]]:
    # ExecuTorch takes what it delegates out of the dict of constants.
    return str(program.graph), list(program.constants), list(program.state_dict)


@pytest.fixture(scope="module")
def report(plans: tuple[capture.Capture, capture.Capture]) -> CoverageReport:
    return summarize("model", plans[1], target="executorch")


@pytest.fixture(scope="module")
def contrast(plans: tuple[capture.Capture, capture.Capture]) -> Contrast:
    ours, theirs = plans
    return Contrast(
        summarize("model.py", ours),
        summarize("model.py", theirs, target="executorch"),
        contrast_plans(ours, theirs, default_registry()),
    )


def test_common_ops_are_delegated(report: CoverageReport) -> None:
    (method,) = report.methods
    counts = {op.op: (op.nodes, op.delegated) for op in method.ops}
    assert counts["aten.linear.default"] == (2, 2)
    # The delegate has it in place; it is shown as the op of the model.
    assert counts["aten.relu.default"] == (2, 2)
    assert 0 < method.delegated < method.nodes
    assert method.partitions > 1
    assert method.mlx.flops >= 2 * 2 * 2 * 8 * 8
    assert method.graph.finding.count(-1) == method.delegated


def test_plan_is_what_the_delegate_lowers(plans: tuple[capture.Capture, capture.Capture]) -> None:
    program = torch.export.export(Model().eval(), ARGUMENTS)
    delegate = import_delegate()
    from executorch.backends.mlx.passes import get_default_passes

    lowered = to_edge_transform_and_lower(
        program,
        transform_passes=get_default_passes(),
        partitioner=[delegate.MLXPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
    )
    modules = get_lowered_backend_modules(lowered.exported_program().graph_module)
    plan = plans[1].plans["forward"]
    assert {module.backend_id for module in modules} == {"MLXBackend"}
    assert all(module.processed_bytes for module in modules)
    inside = [list_inside(module) for module in modules]
    assert sorted(map(name_nodes, inside)) == sorted(map(name_nodes, plan.partitions))


def name_nodes(nodes: Iterable[Node]) -> list[str]:
    targets = [find_functional(canonicalize(node.target)) for node in nodes if is_counted(node)]
    return sorted(map(name_target, targets))


def test_what_falls_back_quotes_the_delegate(report: CoverageReport) -> None:
    (method,) = report.methods
    casts = [f for f in method.findings if f.op == "aten._to_copy.default"]
    assert sum(finding.count for finding in casts) == 4
    assert {finding.reason.slug for finding in method.findings} == {"upstream/unsupported"}
    sentences = {finding.reason.sentence for finding in casts}
    assert any("float64" in sentence for sentence in sentences)
    for sentence in sentences:
        assert sentence.startswith('its support check says: "')
        assert not any(part in sentence for part in ("Traceback", "0x", "<function", "\n"))
    # Nodes of two layers say the same, so that they are one finding.
    assert {tuple(m.path for m in f.modules) for f in casts} == {("layers.*",)}


def test_report_says_whose_it_is(report: CoverageReport) -> None:
    assert from_json(to_json(report)) == report
    assert report.target == "executorch"
    assert report.statuses == ()  # what conformance found of ours


def find_row(contrast: Contrast, op: str) -> OpContrast:
    (row,) = [row for row in contrast.methods[0].ops if row.op == op]
    return row


def test_claims_outside_the_domain_are_disputed(contrast: Contrast) -> None:
    row = find_row(contrast, "aten.avg_pool2d.default")
    assert (row.theirs.nodes, row.theirs.delegated) == (1, 1)
    (remark,) = row.disputed
    assert (remark.reason.slug, remark.nodes) == ("op/dtype", 1)
    assert "int64" in remark.reason.sentence
    # Theirs keeps it whole, and the registry judges what it consists of.
    (remark,) = find_row(contrast, "aten.conv2d.default").disputed
    said = remark.reason.sentence
    assert said.startswith("aten.convolution.default, which it consists of: `input` is int64")


def test_claims_inside_the_domain_are_not(contrast: Contrast) -> None:
    for op in ("aten.linear.default", "aten.relu.default"):
        row = find_row(contrast, op)
        assert row.ours.delegated == row.theirs.delegated == row.theirs.nodes == 2
        assert row.disputed == ()
    sin = find_row(contrast, "aten.sin.default")
    assert (sin.ours.delegated, sin.theirs.delegated, sin.disputed) == (0, 0, ())
    assert sin.ours.remarks[0].reason.slug == "op/dtype"


def test_contrast_is_rendered(contrast: Contrast) -> None:
    text = render_contrast(contrast)
    assert "claimed; known to differ, op/dtype (1 node, " in text
    assert text.index("aten.avg_pool2d.default") < text.index("aten.relu.default")
    assert "<code>aten.relu.default</code> | 2 of 2 | 2 of 2 |  |" in render_contrast_markdown(
        contrast
    )
    assert '"their_partitions": ' in render_contrast_json(contrast)
