"""The formats of a report, by the names that the command line and the settings use."""

from collections.abc import Callable, Mapping

from mlx_coverage.analyze.model import CoverageReport
from mlx_coverage.report.concise import render_concise
from mlx_coverage.report.csv import render_csv
from mlx_coverage.report.github import render_github
from mlx_coverage.report.html import render_html
from mlx_coverage.report.json import render_json
from mlx_coverage.report.junit import render_junit
from mlx_coverage.report.markdown import render_markdown
from mlx_coverage.report.sarif import render_sarif
from mlx_coverage.report.text import render_text

# Those that suit a terminal take its width, and whether it has colours and Unicode.
TERMINAL_RENDERERS: Mapping[str, Callable[..., str]] = {
    "full": render_text,
    "concise": render_concise,
}
RENDERERS: Mapping[str, Callable[[CoverageReport], str]] = {
    "full": render_text,
    "concise": render_concise,
    "json": render_json,
    "sarif": render_sarif,
    "github": render_github,
    "junit": render_junit,
    "markdown": render_markdown,
    "csv": render_csv,
    "html": render_html,
}
# A page is for a browser, so `--output-format` leaves it out.
OUTPUT_FORMATS = tuple(name for name in RENDERERS if name != "html")
