"""Renderers of a CoverageReport. They read `analyze.model` alone: no torch, no mlx."""

from mlx_coverage.report.files import UnwritableError, check_writable, stage_file, write_file
from mlx_coverage.report.html import render_html
from mlx_coverage.report.json import render_json
from mlx_coverage.report.ops import render_ops
from mlx_coverage.report.text import render_text

__all__ = [
    "UnwritableError",
    "check_writable",
    "render_html",
    "render_json",
    "render_ops",
    "render_text",
    "stage_file",
    "write_file",
]
