"""Every example model: it is analysed, and its delegates hold exactly what the plan says."""

from functools import partial
from pathlib import Path

import pytest

from mlx_coverage.analyze.attest import attest_methods
from mlx_coverage.analyze.capture import export_methods, plan_methods
from mlx_coverage.analyze.load import open_model
from mlx_coverage.analyze.model import from_json, to_json
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.report import render_html, render_text

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[!_]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    with open_model(str(path)) as methods:
        programs = export_methods(methods)
    planned = plan_methods(programs, partial(MLXPartitioner, _plan_only=True))
    attest_methods(planned.plans, planned.lowered)
    report = summarize(path.name, planned)
    assert report.nodes > 0
    assert report.delegated > 0
    assert from_json(to_json(report)) == report
    assert render_text(report)
    assert render_html(report)
    for method in report.methods:
        assert method.nodes == sum(segment.nodes for segment in method.segments)
        assert all(finding.source.file for finding in method.findings)
