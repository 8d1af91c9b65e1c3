"""The report in lines that editors and grep understand: `file:line: slug sentence`."""

from collections.abc import Iterator

from mlx_coverage.analyze.model import CoverageReport
from mlx_coverage.report.text import sanitize
from mlx_coverage.report.verdict import (
    describe_kernels,
    describe_outcome,
    describe_refusals,
    describe_verdict,
    group_by_line,
)


def render_concise(
    report: CoverageReport, *, width: int = 100, color: bool = False, unicode: bool = True
) -> str:
    """One line per source line and reason, then the verdict of each method.

    Args:
        report: to be shown.
        width: not used; a line is a record and is never wrapped.
        color: whether to use ANSI colours.
        unicode: whether the terminal can show more than ASCII.
    """
    del width
    text = "\n".join(map(sanitize, _list_lines(report))) + "\n"
    if color:
        text = "\n".join(_paint(line) for line in text.split("\n"))
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _list_lines(report: CoverageReport) -> Iterator[str]:
    for text in describe_outcome(report):
        yield f"{report.model}: {text}"
    for source, text in describe_refusals(report):
        yield f"{source.place or report.model}: {text}"
    for line in group_by_line(f for method in report.methods for f in method.findings):
        yield f"{line.source.place or report.model}: {line.slug} {line.describe()}"
    for method in report.methods:
        for text in describe_kernels(method, report):
            yield f"{report.model}: {text}"
        name = f" {method.name}" if len(report.methods) > 1 else ""
        yield f"{report.model}{name}: {describe_verdict(method, report)}"


def _paint(line: str) -> str:
    place, colon, rest = line.partition(": ")
    return f"\033[1m{place}\033[0m{colon}{rest}" if colon else line
