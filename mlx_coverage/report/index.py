"""One page that leads to the pages of several models."""

from collections.abc import Mapping

from mlx_coverage.analyze.model import CoverageReport
from mlx_coverage.report.html import make_page


def render_index(
    title: str, reports: Mapping[str, CoverageReport], others: Mapping[str, str]
) -> str:
    """A table of models, each leading to its page.

    Args:
        title: of the page.
        reports: by address of the page of each, relative to the index.
        others: what else there is to read: address to sentence.
    """
    return make_page("index.html.j2", title=title, reports=reports, others=others)
