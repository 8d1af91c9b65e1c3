"""Two reports compared, for a terminal, as Markdown and as JSON."""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlx_coverage.analyze.difference import Change, Difference, MethodDifference
from mlx_coverage.analyze.model import CoverageReport, MethodReport, format_count, format_share
from mlx_coverage.report.markdown import escape_markdown, quote_code
from mlx_coverage.report.text import sanitize

# Figures of a method, by the names that the outputs use.
_FIGURES: Mapping[str, Callable[[MethodReport], int]] = {
    "nodes": lambda method: method.nodes,
    "delegated": lambda method: method.delegated,
    "flops": lambda method: method.total.flops,
    "flops_delegated": lambda method: method.mlx.flops,
    "bytes": lambda method: method.total.bytes,
    "bytes_delegated": lambda method: method.mlx.bytes,
    "partitions": lambda method: method.partitions,
    "crossing_bytes": lambda method: method.crossing_bytes,
}


def render_difference_text(difference: Difference, width: int = 100) -> str:
    """What changed, method by method; `+` marks what falls back only in the new report."""
    return "\n".join(_list_text(difference, max(width, 60))) + "\n"


def render_difference_markdown(difference: Difference) -> str:
    """The same as headings and tables."""
    return "\n".join(_list_markdown(difference)) + "\n"


def render_difference_json(difference: Difference) -> str:
    """The same as an object: pairs are [old, new], and null where a report has no such method."""
    document = {
        "old": _identify(difference.old),
        "new": _identify(difference.new),
        "methods": [_describe_method(method) for method in difference.methods],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _list_text(difference: Difference, width: int) -> Iterator[str]:
    old, new = sanitize(difference.old.model), sanitize(difference.new.model)
    yield f"{old} -> {new}" if old != new else f"{new}, compared with its baseline"
    yield from (sanitize(line) for line in _list_failures(difference))
    for method in difference.methods:
        yield ""
        yield f"{sanitize(method.name)}: {_compare_share(method)}"
        if method.old and method.new:
            pairs = ((name, read(method.old), read(method.new)) for name, read in _FIGURES.items())
            changed = [f"{n.replace('_', ' ')} {a} -> {b}" for n, a, b in pairs if a != b]
            yield f"  {', '.join(changed) or 'no figure changed'}"
        for mark, changes in (("+", method.appeared), ("-", method.disappeared)):
            for change in changes:
                yield from _wrap(f"{mark} {_describe_change(change)}", width)
        if not method.appeared and not method.disappeared:
            yield "  the same nodes fall back"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        sanitize(text),
        width,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _list_failures(difference: Difference) -> Iterator[str]:
    for name, report in (("old", difference.old), ("new", difference.new)):
        failure = report.failure
        if failure is not None:
            yield f"{name}: {failure.name} failed: {failure.sentence}"


def _compare_share(method: MethodDifference) -> str:
    if method.new is None:
        return "only in the old report"
    share = _describe_share(method.new)
    if method.old is None:
        return f"only in the new report, {share} on MLX"
    return f"{_describe_share(method.old)} -> {share} on MLX"


def _describe_share(method: MethodReport) -> str:
    share = format_share(method.delegated, method.nodes)
    return f"{share} ({method.delegated} of {format_count(method.nodes, 'node')})"


def _describe_change(change: Change) -> str:
    finding = change.finding
    place = f" at {finding.source.place}" if finding.source.file else ""
    allowed = "" if finding.allowed is None else f" (allowed: {finding.allowed})"
    return (
        f"{format_count(change.nodes, 'node')} of {finding.op}{place}: {finding.reason.slug}, "
        f"{finding.reason.sentence}{allowed}"
    )


def _list_markdown(difference: Difference) -> Iterator[str]:
    old, new = quote_code(difference.old.model), quote_code(difference.new.model)
    yield (
        f"## mlx-coverage: {old} compared with {new}"
        if old != new
        else (f"## mlx-coverage: {new} compared with its baseline")
    )
    for line in _list_failures(difference):
        yield ""
        yield escape_markdown(line)
    for method in difference.methods:
        yield ""
        yield f"{quote_code(method.name)}: **{_compare_share(method)}**"
        if method.old and method.new:
            yield ""
            yield "| | old | new |"
            yield "|---|---:|---:|"
            for name, read in _FIGURES.items():
                yield f"| {name.replace('_', ' ')} | {read(method.old)} | {read(method.new)} |"
        changes = [(c, "appeared") for c in method.appeared]
        changes += [(c, "disappeared") for c in method.disappeared]
        if changes:
            yield ""
            yield "| fallback | nodes | op | reason | source |"
            yield "|---|---:|---|---|---|"
        for change, what in changes:
            finding = change.finding
            cells = (
                what, str(change.nodes), quote_code(finding.op), quote_code(finding.reason.slug),
                quote_code(finding.source.place) or "unknown",
            )  # fmt: skip
            yield "| " + " | ".join(cells) + " |"


def _identify(report: CoverageReport) -> dict[str, Any]:
    failure = report.failure
    return {
        "model": report.model,
        "schema_version": report.schema_version,
        "failed": failure.name if failure is not None else None,
    }


def _describe_method(method: MethodDifference) -> dict[str, Any]:
    pair = (method.old, method.new)
    return {
        "name": method.name,
        **{n: [read(m) if m is not None else None for m in pair] for n, read in _FIGURES.items()},
        "appeared": [_show_change(change) for change in method.appeared],
        "disappeared": [_show_change(change) for change in method.disappeared],
    }


def _show_change(change: Change) -> dict[str, Any]:
    finding = change.finding
    return {
        "nodes": change.nodes,
        "op": finding.op,
        "reason": finding.reason.slug,
        "sentence": finding.reason.sentence,
        "file": finding.source.file,
        "line": finding.source.line,
        "code": finding.source.code,
        "allowed": finding.allowed,
    }


DIFFERENCE_RENDERERS: Mapping[str, Callable[[Difference], str]] = {
    "full": render_difference_text,
    "markdown": render_difference_markdown,
    "json": render_difference_json,
}
