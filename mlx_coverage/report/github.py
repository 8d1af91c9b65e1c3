"""The report as workflow commands of GitHub Actions, which become annotations of the diff."""

from collections.abc import Iterator

from mlx_coverage.analyze.model import CoverageReport, Source
from mlx_coverage.report.text import sanitize
from mlx_coverage.report.verdict import (
    describe_fixes,
    describe_kernels,
    describe_outcome,
    describe_refusals,
    describe_verdict,
    group_by_line,
)


def render_github(report: CoverageReport) -> str:
    """A warning per source line and reason, an error for a failed stage, and the verdict.

    GitHub shows the first ten warnings of a step, so those with the most nodes come first.
    """
    return "\n".join(_list_commands(report)) + "\n"


def _list_commands(report: CoverageReport) -> Iterator[str]:
    packages = frozenset(file.file for file in report.files if not file.own)
    headline, *remarks = describe_outcome(report)
    level = "notice" if report.outcome == "lowers" else "error"
    yield _write(level, headline, title=f"mlx-coverage: {report.model}")
    for text in remarks:
        yield _write("warning", text, title=f"mlx-coverage: {report.model}")
    for source, text in describe_refusals(report):
        title = f"mlx-coverage: {report.model}"
        yield _write("error", text, title=title, **_locate(source, packages))
    for line in group_by_line(f for method in report.methods for f in method.findings):
        if all(finding.allowed is not None for finding in line.findings):
            continue
        place = _locate(line.source, packages)
        where = "" if place or not line.source.file else f" ({line.source.place})"
        fixes = dict.fromkeys(fix for f in line.findings for fix in describe_fixes(f))
        remedies = dict.fromkeys(finding.reason.remedy for finding in line.findings)
        text = "\n".join([f"{line.describe()}{where}", *fixes, *remedies])
        yield _write("warning", text, title=f"mlx-coverage: {line.slug}", **place)
    for method in report.methods:
        title = f"mlx-coverage: {report.model} {method.name}"
        for text in describe_kernels(method, report):
            yield _write("error", text, title=title)
        yield _write("notice", describe_verdict(method, report), title=title)


def _locate(source: Source, packages: frozenset[str]) -> dict[str, str]:
    # An annotation needs a file of the repository.
    if source.file is None or source.file in packages:
        return {}
    return {"file": source.file, "line": str(source.line)}


def _write(command: str, message: str, **properties: str) -> str:
    described = ",".join(f"{name}={_escape(v, ',:')}" for name, v in properties.items())
    return f"::{command} {described}::{_escape(message)}"


def _escape(text: str, further: str = "") -> str:
    """Percent-encode what ends a command or a property, as the runner decodes it."""
    lines = [sanitize(line) for line in text.split("\n")]
    escaped = "\n".join(lines).replace("%", "%25")
    for character in "\n" + further:
        escaped = escaped.replace(character, f"%{ord(character):02X}")
    return escaped
