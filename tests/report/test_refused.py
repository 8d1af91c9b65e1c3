"""A program that does not lower is said to be so first, in every format, with every refusal."""

import json
from dataclasses import replace

import pytest

from mlx_coverage.analyze.model import CoverageReport, Refusal, Source, from_json, to_json
from mlx_coverage.report import RENDERERS, render_html
from tests.report.samples import make_report

REMARK = "The model is in training mode, call .eval() before exporting."


def make_refused() -> CoverageReport:
    report = make_report()
    further = Refusal(
        "ExecuTorch has no kernel for shop.cube", Source("b.py", 9), "runtime/no-kernel"
    )
    first, second, edge, last = report.stages
    failed = replace(
        edge, status="failed", sentence="ExecuTorch refuses shop.push", source=Source("a.py", 3),
        slug="export/decomposition", further=(further,),
    )  # fmt: skip
    return replace(report, stages=(first, second, failed, last), remarks=(REMARK,))


@pytest.mark.parametrize(
    "form", ["full", "concise", "markdown", "github", "junit", "sarif", "html"]
)
def test_every_refusal_and_every_finding_is_shown(form: str) -> None:
    text = RENDERERS[form](make_refused())
    plain = text.replace("<wbr>", "").replace("\\", "")
    for part in ("ExecuTorch refuses shop.push", "no kernel for shop.cube", "a.py", "b.py"):
        assert part in plain
    assert "Does not lower: change these lines: a.py:3, b.py:9." in plain
    assert "training mode" in plain
    assert "aten.plain.default" in plain


@pytest.mark.parametrize("form", ["full", "concise", "markdown", "github"])
def test_a_share_says_would(form: str) -> None:
    assert "would be on MLX" in RENDERERS[form](make_refused())
    assert "would be" not in RENDERERS[form](make_report())


def test_the_headline_stands_first_and_then_the_remark() -> None:
    lines = RENDERERS["full"](make_refused()).splitlines()
    body = lines[lines.index("") + 1 :]
    assert body[:2] == ["Does not lower: change these lines: a.py:3, b.py:9.", REMARK]


def test_the_page_is_red_and_its_share_grey() -> None:
    page = render_html(make_refused())
    assert "<title>Does not lower: change these lines: a.py:3, b.py:9. plain.py</title>" in page
    assert 'class="answer bad"' in page
    assert 'class="headline refused"' in page
    assert "would run on MLX" in page


def test_the_json_has_an_outcome() -> None:
    report = make_refused()
    assert json.loads(to_json(report))["outcome"] == "does not lower"
    assert from_json(to_json(report)) == report
    (method,) = report.methods
    runs = replace(make_report(), methods=(replace(method, kernels_missing=()),))
    assert runs.outcome == "lowers"
    assert make_report().outcome == "does not load"
    assert replace(runs, methods=()).outcome == "not planned"


def test_sarif_has_a_result_per_refusal_and_a_notification() -> None:
    (run,) = json.loads(RENDERERS["sarif"](make_refused()))["runs"]
    errors = [result for result in run["results"] if result["level"] == "error"]
    assert [result["ruleId"] for result in errors] == ["export/decomposition", "runtime/no-kernel"]
    (invocation,) = run["invocations"]
    said = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert said[1] == REMARK
    assert said[0].startswith("Does not lower")
