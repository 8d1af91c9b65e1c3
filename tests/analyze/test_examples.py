"""Every example: what `check` plans without lowering is what lowering plans and holds."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlx_coverage.analyze.attest import attest_methods
from mlx_coverage.analyze.capture import export_methods, lower_methods, plan_methods
from mlx_coverage.analyze.load import open_model
from mlx_coverage.analyze.model import from_json, to_json
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.report import render_html, render_text
from tests.lowering.plans import describe_plan

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[!_]*.py"))
# An op that stays as it is, and ops that are kept whole where they are not excluded.
EXCLUDED = ("aten.add.Tensor", "aten.linear.default", "aten.layer_norm.default")

make = partial(MLXPartitioner, _plan_only=True)


def assert_same(programs: Any, **options: Any) -> Any:
    """The plan that is made without lowering."""
    planned = plan_methods(programs, partial(make, **options))
    lowered = lower_methods(programs, partial(make, **options))
    assert planned.plans.keys() == lowered.plans.keys()
    for name, plan in planned.plans.items():
        assert describe_plan(plan) == describe_plan(lowered.plans[name])
    assert str(planned.refused) == str(lowered.refused)
    attest_methods(planned.plans, lowered.lowered)
    return planned


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    with open_model(str(path)) as methods:
        programs = export_methods(methods)
    report = summarize(path.name, assert_same(programs))
    assert report.nodes > 0
    assert report.delegated > 0
    assert from_json(to_json(report)) == report
    assert render_text(report)
    assert render_html(report)
    for method in report.methods:
        assert method.nodes == sum(segment.nodes for segment in method.segments)
        assert all(finding.source.file for finding in method.findings)


def test_plan_with_fallbacks() -> None:
    with open_model(str(EXAMPLES[0].with_name("vit.py"))) as methods:
        programs = export_methods(methods)
    planned = assert_same(programs, exclude_ops=EXCLUDED, min_partition_size=3)
    (plan,) = planned.plans.values()
    assert 0 < plan.delegated < len(plan.placements)
    assert len(plan.partitions) > 1
