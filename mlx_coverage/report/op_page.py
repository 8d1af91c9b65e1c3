"""The op page: as Markdown, as JSON, and as one HTML file that needs no network and no script."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlx_coverage.analyze.op_page import STANDINGS, OpPage, OpRow, Standing

MEANINGS: Mapping[Standing, str] = {
    "full": "measured equal to torch in every dtype listed; no rule but on dtypes",
    "partial": "measured, inside the domain and but for the differences listed",
    "untested": "an entry, not measured as it is now",
    "gap": "known and not mapped, for the reason given",
    "absent": "core ATen, and not in the registry",
}


def render_op_page(page: OpPage, form: str) -> str:
    """The page in one of `PAGE_FORMS`."""
    return PAGE_FORMS[form](page)


def describe_measurements(row: OpRow) -> str:
    """How many dtypes passed, eager and in the runtime; empty where nothing was measured."""
    return "; ".join(
        f"{len(m.passed)} of {len(m.passed) + len(m.failed)} dtypes, {len(m.lowered)} lowered"
        for m in row.measurements
    )


def describe_domain(row: OpRow) -> str:
    """Rules, differences, tolerance and reason in one line."""
    parts = [*row.domain, *(f"differs: {limitation}" for limitation in row.limitations)]
    parts += [f"tolerance: {row.tolerance}"] if row.tolerance else []
    if row.standing in ("gap", "absent") or row.reason.startswith(("conformance", "not measured")):
        parts.append(row.reason)
    return "; ".join(parts) or "any"


def _render_markdown(page: OpPage) -> str:
    core, every = page.count(core=True), page.count(core=False)
    lines = [
        "# Ops",
        "",
        "Every overload that the registry names and every one that torch tags core ATen, from",
        "the registry and from what `make conformance` measured (`reports/conformance.json`).",
        "The numeric criterion is that of [ADR 3](../docs/adr/0003-numeric-criterion.md), but",
        "where an op says `tolerance`.",
        "",
        f"| standing | of {sum(core.values())} core | of all {sum(every.values())} | meaning |",
        "|---|---|---|---|",
        *(f"| {s} | {core[s]} | {every[s]} | {MEANINGS[s]} |" for s in STANDINGS),
        "",
        *(f"Measured on: {environment}." for environment in page.environments),
        "",
        "| op | core | standing | domain | measured |",
        "|---|---|---|---|---|",
    ]
    for row in page.rows:
        cells = (
            f"`{row.op}`", "core" if row.core else "", row.standing, describe_domain(row),
            describe_measurements(row),
        )  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _render_html(page: OpPage) -> str:
    environment = Environment(
        loader=PackageLoader("mlx_coverage.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = environment.loader.get_source(environment, "ops.css")[0]  # type: ignore[union-attr]
    # The browser hashes what stands between the tags.
    digest = b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return environment.get_template("ops.html.j2").render(
        page=page,
        meanings=MEANINGS,
        core=page.count(core=True),
        every=page.count(core=False),
        style=Markup(source),
        policy=Markup(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"),
        measured=describe_measurements,
    )


PAGE_FORMS: Mapping[str, Callable[[OpPage], str]] = {
    "html": _render_html,
    "json": OpPage.to_json,
    "markdown": _render_markdown,
}
