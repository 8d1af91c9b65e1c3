"""Two delegates side by side, for a terminal, as Markdown and as JSON."""

import dataclasses
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping

from mlx_coverage.analyze.contrast import Contrast, MethodContrast, OpContrast, Remark, Share
from mlx_coverage.analyze.model import format_count, format_share
from mlx_coverage.report.markdown import escape_markdown, quote_code
from mlx_coverage.report.text import sanitize

_OURS, _THEIRS = "mlx-coverage", "executorch"
_DISPUTED = "claimed; known to differ"
_LEGEND = (
    f"{_DISPUTED}: ExecuTorch's delegate takes the call, which lies outside the domain in which "
    "mlx-coverage found MLX to do as torch does, for the reason given."
)
_WIDTH = 100
_PLACES = 3


def render_contrast(contrast: Contrast) -> str:
    """A table op by op, with what each delegate says of what it leaves."""
    return "\n".join(_list_text(contrast)) + "\n"


def render_contrast_markdown(contrast: Contrast) -> str:
    """The same as headings and tables."""
    return "\n".join(_list_markdown(contrast)) + "\n"


def render_contrast_json(contrast: Contrast) -> str:
    """Fields in order of declaration."""
    return json.dumps(dataclasses.asdict(contrast), indent=2, ensure_ascii=False) + "\n"


CONTRAST_RENDERERS: Mapping[str, Callable[[Contrast], str]] = {
    "full": render_contrast,
    "markdown": render_contrast_markdown,
    "json": render_contrast_json,
}


def _list_text(contrast: Contrast) -> Iterator[str]:
    versions = contrast.versions
    yield (
        f"{sanitize(contrast.model)}  mlx-coverage {versions.mlx_coverage}, "
        f"torch {versions.torch}, executorch {versions.executorch}"
    )
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
                text = f"{who} ({_locate(remark)}): {sanitize(remark.sentence)}"
                yield from textwrap.wrap(
                    text, _WIDTH, initial_indent="    ", subsequent_indent="      ",
                    break_long_words=False, break_on_hyphens=False,
                )  # fmt: skip
    if _is_disputed(contrast):
        yield ""
        yield from textwrap.wrap(_LEGEND, _WIDTH)


def _list_markdown(contrast: Contrast) -> Iterator[str]:
    yield f"# {escape_markdown(contrast.model)}: {_OURS} and {_THEIRS}"
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
                f"{who} ({escape_markdown(_locate(remark))}): {escape_markdown(remark.sentence)}"
                for who, remark in _list_remarks(row)
            )
            shares = f"{_show(row.ours)} | {_show(row.theirs)}"
            yield f"| {quote_code(row.op)} | {shares} | {remarks} |"
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
    yield from ((f"{_OURS}, {remark.slug}", remark) for remark in row.ours.remarks)
    yield from ((_THEIRS, remark) for remark in row.theirs.remarks)
    yield from ((f"{_DISPUTED}, {remark.slug}", remark) for remark in row.disputed)


def _locate(remark: Remark) -> str:
    more = len(remark.places) - _PLACES
    places = [sanitize(place) for place in remark.places[:_PLACES]]
    return ", ".join([format_count(remark.nodes, "node"), *places, *[f"{more} more"] * (more > 0)])


def _is_disputed(contrast: Contrast) -> bool:
    return any(row.disputed for method in contrast.methods for row in method.ops)
