"""The report as Markdown, for a job summary or a comment on a pull request."""

import html
import re
from collections.abc import Iterator

from mlx_coverage.analyze.model import CoverageReport, Finding, MethodReport
from mlx_coverage.report.text import sanitize
from mlx_coverage.report.verdict import (
    describe_blockers,
    describe_cut,
    describe_fit,
    describe_fixes,
    describe_kernels,
    describe_outcome,
    describe_reach,
    describe_refusals,
    describe_slow,
    describe_speed,
    describe_verdict,
    describe_what_ifs,
    describe_work,
)

# What would mark up, mention, refer to an issue or become a link.
_MARKUP = re.compile(r"([\\`*_\[\]#|~@]|:(?=//)|(?<=www)\.)", re.IGNORECASE)


def render_markdown(report: CoverageReport) -> str:
    """A heading, the verdict, and a table of what falls back."""
    return "\n".join(_list_lines(report)) + "\n"


def escape_markdown(text: str) -> str:
    """Model strings are untrusted: no markup, HTML, mention or address in them takes effect."""
    return _MARKUP.sub(r"\\\1", html.escape(sanitize(text), quote=False))


def quote_code(text: str) -> str:
    """Text as code that fits into a cell: HTML's own element, whose text can be escaped."""
    if not text:
        return ""
    return f"<code>{escape_markdown(text)}</code>"


def _list_lines(report: CoverageReport) -> Iterator[str]:
    yield f"## mlx-coverage: {quote_code(report.model)}"
    if report.target == "executorch":
        yield ""
        yield "Target: ExecuTorch's own MLX delegate"
    for text in describe_outcome(report):
        yield ""
        yield f"**{escape_markdown(text)}**"
    for source, text in describe_refusals(report):
        place = f" ({quote_code(source.place)})" if source.file else ""
        yield ""
        yield f"{escape_markdown(text)}{place}"
    for method in report.methods:
        yield ""
        yield from _show_method(method, report)
    answers = [*describe_fit(report), *describe_what_ifs(report)]
    if answers:
        yield ""
        yield from (f"- {escape_markdown(text)}" for text in answers)
    if len(report.methods) > 1:
        yield ""
        yield f"All methods: **{describe_verdict(report, report)}**"
    for part in report.missing:
        yield ""
        yield f"Missing from this report: {escape_markdown(part)}"
    versions = report.versions
    yield ""
    yield (
        f"mlx-coverage {versions.mlx_coverage}, torch {versions.torch}, "
        f"executorch {versions.executorch}"
        + ("; the full lowering delegates exactly these nodes" if report.verified else "")
    )


def _show_method(method: MethodReport, report: CoverageReport) -> Iterator[str]:
    name = f"{quote_code(method.name)}: " if len(report.methods) > 1 else ""
    yield f"{name}**{describe_verdict(method, report)}**"
    if method.nodes:
        yield ""
        yield "; ".join(describe_work(method))
    for text in describe_kernels(method, report):
        yield ""
        yield f"**{escape_markdown(text)}**"
    answers = [*describe_speed(method), *describe_slow(method)]
    if answers:
        yield ""
        yield from (f"- {escape_markdown(text)}" for text in answers)
    if method.blockers:
        yield ""
        yield "What would help most:"
        yield ""
        yield from (f"- {escape_markdown(text)}" for text in describe_blockers(method))
        for text in describe_cut(method):
            yield ""
            yield escape_markdown(text)
    if method.findings:
        yield ""
        yield "| nodes | op | reason | source | what usually helps |"
        yield "|---:|---|---|---|---|"
    for finding in method.findings:
        yield "| " + " | ".join(_list_cells(finding)) + " |"


def _list_cells(finding: Finding) -> Iterator[str]:
    yield str(finding.count)
    yield quote_code(finding.op)
    said = map(escape_markdown, (finding.reason.sentence, *describe_reach(finding)))
    yield "<br>".join((quote_code(finding.reason.slug), *said))
    place = quote_code(finding.source.place) or "unknown"
    code = f"<br>{quote_code(finding.source.code)}" if finding.source.code else ""
    yield place + code
    if finding.allowed is None:
        yield "<br>".join(map(escape_markdown, [*describe_fixes(finding), finding.reason.remedy]))
    else:
        yield f"allowed: {escape_markdown(finding.allowed)}"
