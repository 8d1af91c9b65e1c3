"""`mlx_coverage.analyze` from Python, and a report that shows itself."""

import json
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

import mlx_coverage
from mlx_coverage import Report
from mlx_coverage.analyze.model import from_json
from tests.report.samples import HOSTILE, make_report


class Net(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) + torch.cumsum(torch.cos(x), 0)


@pytest.fixture(scope="module")
def report() -> Report:
    return mlx_coverage.analyze(Net(), (torch.ones(3),), exclude_ops=["aten.cumsum.default"])


def test_package_and_function_share_a_name() -> None:
    import mlx_coverage.analyze.model

    assert mlx_coverage.analyze.model.CoverageReport in Report.__mro__
    assert callable(mlx_coverage.analyze)


def test_report_of_a_module(report: Report) -> None:
    assert report.headline.startswith("Lowers in 3 pieces, 2 of them on MLX: 1 line")
    (finding,) = report.findings
    assert finding.op == "aten.cumsum.default"
    assert from_json(report.to_json()).methods == report.methods
    assert report.headline in report.to_html()
    assert report.headline in str(report)


def test_exported_programs_and_names_are_models() -> None:
    program = torch.export.export(Net(), (torch.ones(3),))
    assert mlx_coverage.analyze(program).headline == "Lowers as one delegate."
    assert mlx_coverage.analyze("zoo:lstm@small").model == "zoo:lstm@small"
    with pytest.raises(TypeError, match="belong to a module"):
        mlx_coverage.analyze(program, (torch.ones(3),))


def test_sizes_may_be_dynamic() -> None:
    sizes = ({0: torch.export.Dim("n", max=9)},)
    (method,) = mlx_coverage.analyze(Net(), (torch.ones(3),), dynamic_shapes=sizes).methods
    assert [size.value for size in method.sizes] == [3]


def test_frames(report: Report) -> None:
    findings = report.to_pandas()
    assert list(findings["op"]) == ["aten.cumsum.default"]
    nodes = report.to_pandas("nodes")
    assert len(nodes) == report.nodes
    assert nodes.groupby("device").size().to_dict() == {"cpu": 1, "mlx": report.delegated}
    assert nodes["bytes"].sum() == report.total.bytes
    assert set(nodes["line"]) == {19}


def test_graph_of_partitions(report: Report) -> None:
    graph = report.to_networkx()
    assert graph.graph["critical_path"] == list(graph)
    assert [graph.nodes[name]["device"] for name in graph] == ["mlx", "cpu", "mlx"]
    assert {data["bytes"] for *_, data in graph.edges(data=True)} == {12}
    with pytest.raises(ValueError, match="accepted: forward"):
        report.to_networkx("backward")


@pytest.mark.parametrize("text", HOSTILE)
def test_notebooks_are_shown_text(text: str) -> None:
    shown = Report.of(make_report(text))._repr_html_()
    assert "<script" not in shown.lower()
    assert "<img" not in shown.lower()
    assert "<table>" in shown


def test_frames_and_graphs_are_imported_when_asked() -> None:
    code = (
        "import sys, mlx_coverage.analysis; "
        "print([m for m in ('pandas', 'networkx', 'torch', 'mlx.core') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout.decode().replace("'", '"')) == []
