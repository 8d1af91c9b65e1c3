"""Two delegates side by side, in every format that has a place for both."""

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping

from mlx_coverage.analyze.contrast import (
    DISPUTED,
    DISPUTED_MEANS,
    Contrast,
    MethodContrast,
    OpContrast,
    Remark,
    Share,
)
from mlx_coverage.analyze.model import format_count, format_share, write_json
from mlx_coverage.report.html import render_contrast_html
from mlx_coverage.report.markdown import escape_markdown, quote_code
from mlx_coverage.report.sarif import render_contrast_sarif
from mlx_coverage.report.text import sanitize

_OURS, _THEIRS = "mlx-coverage", "executorch"
_LEGEND = f"{DISPUTED}: {DISPUTED_MEANS}"
_WIDTH = 100
_PLACES = 3
_COLUMNS = (
    "model", "method", "op", "our_nodes", "our_delegated", "their_nodes", "their_delegated",
    "our_reasons", "their_reasons", "disputed",
)  # fmt: skip


def render_contrast(contrast: Contrast) -> str:
    """A table op by op, with what each delegate says of what it leaves."""
    return "\n".join(_list_text(contrast)) + "\n"


def render_contrast_markdown(contrast: Contrast) -> str:
    """The same as headings and tables."""
    return "\n".join(_list_markdown(contrast)) + "\n"


def render_contrast_json(contrast: Contrast) -> str:
    """Both reports, and the two side by side; fields in order of declaration."""
    return write_json(contrast)


def render_contrast_csv(contrast: Contrast) -> str:
    """A header, then the ops in the order of the table; reasons are joined by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for method in contrast.methods:
        for row in method.ops:
            reasons = (_join_slugs(r) for r in (row.ours.remarks, row.theirs.remarks, row.disputed))
            shares = (row.ours.nodes, row.ours.delegated, row.theirs.nodes, row.theirs.delegated)
            writer.writerow((contrast.ours.model, method.name, row.op, *shares, *reasons))
    return text.getvalue()


def _join_slugs(remarks: Iterable[Remark]) -> str:
    return " ".join(dict.fromkeys(remark.reason.slug for remark in remarks))


CONTRAST_RENDERERS: Mapping[str, Callable[[Contrast], str]] = {
    "full": render_contrast,
    "markdown": render_contrast_markdown,
    "json": render_contrast_json,
    "csv": render_contrast_csv,
    "sarif": render_contrast_sarif,
    "html": render_contrast_html,
}


def describe_failures(contrast: Contrast) -> Iterator[str]:
    """A sentence for each stage that failed, with one delegate or with both."""
    said: dict[str, list[str]] = {}
    for report, stage in contrast.failures:
        place = f" ({stage.source.place})" if stage.source.file else ""
        text = f"{stage.name} failed: {stage.sentence}{place}"
        said.setdefault(text, []).append(report.target)
    yield from (f"{' and '.join(targets)}: {text}" for text, targets in said.items())


def _list_text(contrast: Contrast) -> Iterator[str]:
    versions = contrast.ours.versions
    yield (
        f"{sanitize(contrast.ours.model)}  mlx-coverage {versions.mlx_coverage}, "
        f"torch {versions.torch}, executorch {versions.executorch}"
    )
    for text in describe_failures(contrast):
        yield ""
        yield from textwrap.wrap(sanitize(text), _WIDTH)
    for method in contrast.methods:
        yield ""
        if len(contrast.methods) > 1:
            yield sanitize(method.name)
        for name, share, partitions in _list_totals(method):
            yield f"{name:<{len(_OURS)}}  {_describe_total(share, partitions)}"
        yield ""
        names = [sanitize(row.op) for row in method.ops]
        width = max(map(len, [*names, "OP"]))
        yield f"{'OP':<{width}}  {_OURS.upper():>{len(_OURS)}}  {_THEIRS.upper()}"
        for row, name in zip(method.ops, names, strict=True):
            shares = f"{_show(row.ours):>{len(_OURS)}}  {_show(row.theirs):>{len(_THEIRS)}}"
            yield f"{name:<{width}}  {shares}"
            for who, remark in _list_remarks(row):
                text = f"{who} ({_locate(remark)}): {sanitize(remark.reason.sentence)}"
                yield from textwrap.wrap(
                    text, _WIDTH, initial_indent="    ", subsequent_indent="      ",
                    break_long_words=False, break_on_hyphens=False,
                )  # fmt: skip
    accepted = list(_list_accepted(contrast))
    if accepted:
        yield ""
        for text in accepted:
            yield from textwrap.wrap(sanitize(text), _WIDTH, subsequent_indent="  ")
    if _is_disputed(contrast):
        yield ""
        yield from textwrap.wrap(_LEGEND, _WIDTH)


def _list_markdown(contrast: Contrast) -> Iterator[str]:
    yield f"# {escape_markdown(contrast.ours.model)}: {_OURS} and {_THEIRS}"
    for text in describe_failures(contrast):
        yield ""
        yield f"**{escape_markdown(text)}**"
    for method in contrast.methods:
        yield ""
        yield f"## {escape_markdown(method.name)}"
        yield ""
        for name, share, partitions in _list_totals(method):
            yield f"* {name}: {_describe_total(share, partitions)}"
        yield ""
        yield f"| op | {_OURS} | {_THEIRS} | remarks |"
        yield "|---|---:|---:|---|"
        for row in method.ops:
            remarks = "<br>".join(
                escape_markdown(f"{who} ({_locate(remark)}): {remark.reason.sentence}")
                for who, remark in _list_remarks(row)
            )
            shares = f"{_show(row.ours)} | {_show(row.theirs)}"
            yield f"| {quote_code(row.op)} | {shares} | {remarks} |"
    accepted = list(_list_accepted(contrast))
    if accepted:
        yield ""
        yield from (f"* {escape_markdown(text)}" for text in accepted)
    if _is_disputed(contrast):
        yield ""
        yield _LEGEND


def _list_totals(method: MethodContrast) -> Iterator[tuple[str, Share, int]]:
    yield _OURS, method.ours, method.our_partitions
    yield _THEIRS, method.theirs, method.their_partitions


def _describe_total(share: Share, partitions: int) -> str:
    percentage = format_share(share.delegated, share.nodes)
    of = f"{share.delegated} of {format_count(share.nodes, 'node')}"
    return f"{percentage} delegated ({of}), {format_count(partitions, 'partition')}"


def _show(share: Share) -> str:
    return f"{share.delegated} of {share.nodes}" if share.nodes else "-"


def _list_remarks(row: OpContrast) -> Iterator[tuple[str, Remark]]:
    yield from ((f"{_OURS}, {remark.reason.slug}", remark) for remark in row.ours.remarks)
    yield from ((_THEIRS, remark) for remark in row.theirs.remarks)
    yield from ((f"{DISPUTED}, {remark.reason.slug}", remark) for remark in row.disputed)


def _locate(remark: Remark) -> str:
    known = list(dict.fromkeys(line.source.place for line in remark.lines if line.source.file))
    places, more = map(sanitize, known[:_PLACES]), len(known) - _PLACES
    return ", ".join([format_count(remark.nodes, "node"), *places, *[f"{more} more"] * (more > 0)])


def _list_accepted(contrast: Contrast) -> Iterator[str]:
    """What comments in the source accept, of either delegate."""
    for comment in contrast.ours.suppressions:
        if not comment.problem:
            slugs = ", ".join(comment.slugs)
            yield f"accepted at {comment.file}:{comment.line} ({slugs}): {comment.why}"


def _is_disputed(contrast: Contrast) -> bool:
    return any(method.disputed for method in contrast.methods)
