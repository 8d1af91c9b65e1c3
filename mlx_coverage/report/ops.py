"""The registry as a table: for a terminal, as Markdown, as JSON."""

import dataclasses
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence

from mlx_coverage.analyze.model import OpEntry, format_count


def render_ops(entries: Sequence[OpEntry], form: str = "text", width: int = 100) -> str:
    """The entries in the order given.

    Args:
        entries: to be shown.
        form: one of `FORMS`.
        width: columns to fit into, for text.
    """
    return FORMS[form](entries, width)


def _render_text(entries: Sequence[OpEntry], width: int) -> str:
    return "\n\n".join("\n".join(_show(entry, width)) for entry in entries) + (
        f"\n\n{_count(entries)}\n"
    )


def _show(entry: OpEntry, width: int) -> Iterator[str]:
    yield entry.op
    yield from _wrap(entry.schema, width)
    if entry.gap is not None:
        yield from _wrap(f"not mapped: {entry.gap}", width)
    for rule in entry.domain:
        yield from _wrap(rule, width, "- ")
    for limitation in entry.limitations:
        yield from _wrap(f"differs: {limitation}", width, "! ")


def _wrap(text: str, width: int, mark: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 60),
        initial_indent=f"  {mark}",
        subsequent_indent="  " + " " * max(len(mark), 2),
        break_on_hyphens=False,
    )


def _render_markdown(entries: Sequence[OpEntry], width: int) -> str:
    del width  # a Markdown table wraps where it is shown
    rows = ["| op | domain | limitations |", "| --- | --- | --- |"]
    for entry in entries:
        domain = f"not mapped: {entry.gap}" if entry.gap is not None else "; ".join(entry.domain)
        cells = (f"`{entry.op}`", domain or "any", "; ".join(entry.limitations))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + f"\n\n{_count(entries)}\n"


def _render_json(entries: Sequence[OpEntry], width: int) -> str:
    del width
    return json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2) + "\n"


def _count(entries: Sequence[OpEntry]) -> str:
    gaps = sum(entry.gap is not None for entry in entries)
    mapped = f"{format_count(len(entries) - gaps, 'op')} mapped"
    return f"{mapped}, {format_count(gaps, 'known gap')}."


FORMS: Mapping[str, Callable[[Sequence[OpEntry], int], str]] = {
    "text": _render_text,
    "markdown": _render_markdown,
    "json": _render_json,
}
