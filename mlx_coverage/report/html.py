"""The report as one HTML file that needs nothing else."""

from mlx_coverage.analyze.model import CoverageReport


def render_html(report: CoverageReport) -> str:
    raise NotImplementedError
