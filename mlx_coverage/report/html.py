"""The report as one HTML file that needs nothing else: no network, and no JavaScript to be read.

Model strings are untrusted: jinja2 escapes every one, control characters are replaced, and
the page's own policy runs no script but ours.
"""

import hashlib
from base64 import b64encode
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlx_coverage.analyze.model import CoverageReport, format_count, format_share
from mlx_coverage.report.text import sanitize

_TEMPLATES = Path(__file__).parent / "templates"


def render_html(report: CoverageReport) -> str:
    """The whole page."""
    style, script = _read_asset("report.css"), _read_asset("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _make_environment().get_template("report.html.j2")
    return page.render(
        report=report,
        style=Markup(style),
        script=Markup(script),
        policy=Markup(policy),
        weigh=_weigh,
    )


def _weigh(nodes: int, total: int) -> int:
    # The policy forbids style attributes, so a width is one of twenty classes.
    return max(1, round(20 * nodes / total))


@lru_cache(maxsize=1)
def _make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlx_coverage.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.filters["share"] = format_share
    environment.filters["count"] = format_count
    environment.filters["breakable"] = _allow_breaks
    environment.filters["prose"] = _mark_code
    return environment


def _allow_breaks(name: str) -> Markup:
    """A dotted name that may break after its dots."""
    return Markup(".<wbr>").join(sanitize(name).split("."))


def _mark_code(sentence: str) -> Markup:
    """A sentence in which `names` between backticks are set as code."""
    pieces = sanitize(sentence).split("`")
    if len(pieces) % 2 == 0:
        return Markup.escape(sanitize(sentence))
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if i % 2 else piece
        for i, piece in enumerate(pieces)
    )


def _clean(value: Any) -> Any:
    return sanitize(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read_asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    # The browser hashes what stands between the tags.
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
