"""The report as JSON: no clock, fields and lists in a fixed order."""

from mlx_coverage.analyze.model import CoverageReport, to_json


def render_json(report: CoverageReport) -> str:
    """The JSON that `analyze.model.from_json` reads back."""
    return to_json(report)
