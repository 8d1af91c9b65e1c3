"""The tables of a sweep: what gates the most models."""

from collections.abc import Mapping

import pandas as pd

from mlx_coverage.analyze.model import CoverageReport, format_count, format_share

Outcomes = Mapping[str, tuple[CoverageReport | None, str]]


def tabulate(outcomes: Outcomes) -> pd.DataFrame:
    """Ops by models.

    Args:
        outcomes: name of a model to its report, or None, and why it was not checked.

    Returns:
        One row per (op, reason) that falls back, the one that gates the most models first:
        columns `op`, `reason`, `models` (how many it gates), `nodes` (in all of them), and
        one column per model that was checked, with its nodes.
    """
    columns = ["op", "reason", "models", "nodes"]
    checked = {name: report for name, (report, why) in outcomes.items() if report and not why}
    found = pd.DataFrame(
        [
            (finding.op, finding.reason.slug, name, finding.count)
            for name, report in checked.items()
            for method in report.methods
            for finding in method.findings
        ],
        columns=["op", "reason", "model", "count"],
    )
    table = found.pivot_table(
        index=["op", "reason"], columns="model", values="count", aggfunc="sum", fill_value=0
    ).reindex(columns=list(checked), fill_value=0)
    table = table.astype(int)
    counts = pd.DataFrame({"models": (table > 0).sum(axis=1), "nodes": table.sum(axis=1)})
    ranked = counts.join(table).reset_index()
    ranked = ranked.reindex(columns=[*columns, *checked])
    order = ["models", "nodes", "op", "reason"]
    return ranked.sort_values(order, ascending=[False, False, True, True], ignore_index=True)


def render_csv(outcomes: Outcomes) -> str:
    """`tabulate` as CSV."""
    text: str = tabulate(outcomes).to_csv(index=False, lineterminator="\n")
    return text


def render_markdown(outcomes: Outcomes) -> str:
    """The models with their outcomes, then `tabulate`."""
    lines = ["# Sweep", "", f"{describe_gate(outcomes)}", "", "## Models", ""]
    lines += ["| model | nodes | on MLX | partitions | outcome |", "|---|---|---|---|---|"]
    for name, (report, why) in outcomes.items():
        figures = ["", "", ""]
        if report is not None and report.methods:
            share = f"{format_share(report.delegated, report.nodes)} ({report.delegated})"
            figures = [str(report.nodes), share, str(report.partitions)]
        lines.append(_join([f"`{name}`", *figures, why or "checked"]))
    lines += ["", "## What falls back", ""]
    table = tabulate(outcomes)
    if table.empty:
        return "\n".join([*lines, "Nothing.", ""])
    lines += [_join([str(name) for name in table.columns]), "|" + "---|" * len(table.columns)]
    lines += [_join([str(cell) for cell in row]) for row in table.itertuples(index=False)]
    return "\n".join([*lines, ""])


def describe_gate(outcomes: Outcomes) -> str:
    """One sentence: which op gates the most models, and how many were checked."""
    table = tabulate(outcomes)
    checked = sum(not why for _, why in outcomes.values())
    whole = f"{checked} of {format_count(len(outcomes), 'model')} checked"
    if table.empty:
        return f"{whole}; nothing falls back."
    first = table.iloc[0]
    return (
        f"{whole}; {first['op']} ({first['reason']}) gates the most: "
        f"{format_count(int(first['models']), 'model')}."
    )


def _join(cells: list[str]) -> str:
    escaped = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
    return f"| {' | '.join(escaped)} |"
