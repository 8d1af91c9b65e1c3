"""Renderers of a CoverageReport. They read `analyze.model` alone: no torch, no mlx."""

from mlx_coverage.report.concise import render_concise
from mlx_coverage.report.csv import render_csv
from mlx_coverage.report.difference import (
    render_difference_json,
    render_difference_markdown,
    render_difference_text,
)
from mlx_coverage.report.files import UnwritableError, check_writable, stage_file, write_file
from mlx_coverage.report.formats import RENDERERS
from mlx_coverage.report.github import render_github
from mlx_coverage.report.html import render_html
from mlx_coverage.report.json import render_json
from mlx_coverage.report.junit import render_junit
from mlx_coverage.report.markdown import render_markdown
from mlx_coverage.report.ops import render_ops
from mlx_coverage.report.sarif import render_sarif
from mlx_coverage.report.text import render_text

__all__ = [
    "RENDERERS",
    "UnwritableError",
    "check_writable",
    "render_concise",
    "render_csv",
    "render_difference_json",
    "render_difference_markdown",
    "render_difference_text",
    "render_github",
    "render_html",
    "render_json",
    "render_junit",
    "render_markdown",
    "render_ops",
    "render_sarif",
    "render_text",
    "stage_file",
    "write_file",
]
