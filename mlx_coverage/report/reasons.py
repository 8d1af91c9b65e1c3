"""The vocabulary of reasons: for a terminal, and as Markdown pages."""

import textwrap
from collections.abc import Iterator, Sequence

from mlx_coverage.analyze.model import ReasonEntry


def render_reasons(entries: Sequence[ReasonEntry]) -> str:
    """One line per reason: its slug, and what is the case."""
    width = max(len(entry.slug) for entry in entries)
    return "".join(f"{entry.slug:<{width}}  {entry.title}\n" for entry in entries)


def render_reason(entry: ReasonEntry, width: int = 100) -> str:
    """All about one reason, for a terminal.

    Args:
        entry: to be shown.
        width: columns to fit into; at least 60 are used.
    """
    width = max(width, 60)

    def wrap(text: str) -> str:
        return textwrap.fill(text, width, break_on_hyphens=False)

    parts = [wrap(f"{entry.slug}: {entry.title}"), wrap(entry.meaning), wrap(entry.remedy)]
    parts += [wrap(entry.hint)] if entry.hint else []
    if entry.example:
        parts += [f"For example, {_name_command(entry)}:", _indent(entry.example)]
    if entry.better:
        parts += ["Rewritten, it runs on MLX:", _indent(entry.better)]
    return "\n\n".join(parts) + "\n"


def name_page(slug: str) -> str:
    """File name of a reason's page."""
    return f"{slug.replace('/', '-')}.md"


def render_reason_page(entry: ReasonEntry) -> str:
    """A reason's page of the documentation, as Markdown."""
    return "\n".join(_list_lines(entry)) + "\n"


def render_reason_index(entries: Sequence[ReasonEntry]) -> str:
    """The page that links to all others."""
    lines = [
        "# Reasons",
        "",
        "Why a node, or a model, does not run on MLX. Generated from",
        "`mlx_coverage/registry/reasons.py`, in order of precedence: the first of a node's",
        "reasons is its primary one. Slugs are stable and public.",
        "",
        "| slug | what is the case | what usually helps |",
        "|---|---|---|",
    ]
    lines += [
        f"| [`{entry.slug}`](reasons/{name_page(entry.slug)}) | {entry.title} | {entry.remedy} |"
        for entry in entries
    ]
    return "\n".join([*lines, ""])


def _list_lines(entry: ReasonEntry) -> Iterator[str]:
    yield f"# {entry.slug}"
    for text in (f"**{entry.title}**", entry.meaning, "## What helps", entry.remedy, entry.hint):
        if text:
            yield ""
            yield from [text] if text.startswith("#") else textwrap.wrap(text, 88)
    if entry.example:
        yield ""
        yield "## Example"
        yield ""
        yield f"With {_name_command(entry)}:"
        yield from _fence(entry.example)
    if entry.better:
        yield ""
        yield "Rewritten, it runs on MLX:"
        yield from _fence(entry.better)
    yield ""
    yield "[All reasons](../reasons.md)"


def _name_command(entry: ReasonEntry) -> str:
    return f"`mlx-coverage check model.py{' ' + entry.options if entry.options else ''}`"


def _fence(code: str) -> Iterator[str]:
    yield from ("", "```python", code.rstrip("\n"), "```")


def _indent(code: str) -> str:
    return textwrap.indent(code.rstrip("\n"), "    ")
