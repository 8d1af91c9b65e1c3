"""Kernels of ExecuTorch that are missing or wrong are said before the findings."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mlx_coverage.analyze.model import CoverageReport
from mlx_coverage.report import RENDERERS, render_html
from tests.report.samples import make_report


@pytest.mark.parametrize(
    "render",
    [*(RENDERERS[form] for form in ("full", "concise", "markdown", "github")), render_html],
)
def test_wrong_kernels_are_said(render: Callable[[CoverageReport], str]) -> None:
    report = make_report()
    (method,) = report.methods
    assert "other numbers" not in render_html(report)
    wrong = replace(method, kernels_wrong=("aten.remainder.Scalar",))
    shown = render(replace(report, methods=(wrong,)))
    assert "other numbers" in shown
    assert "kernel" in shown.partition("other numbers")[2]
