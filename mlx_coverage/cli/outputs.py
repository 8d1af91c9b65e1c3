"""Where a report goes: one format on stdout, any number of files."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_coverage.cli import arguments, console
from mlx_coverage.report import check_writable, write_file
from mlx_coverage.report.difference import DIFFERENCE_RENDERERS
from mlx_coverage.report.formats import OUTPUT_FORMATS, RENDERERS, TERMINAL_RENDERERS

if TYPE_CHECKING:
    from mlx_coverage.analyze.difference import Difference
    from mlx_coverage.analyze.model import CoverageReport

STDOUT = "-"
DEFAULT = "full"


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The arguments that name formats and files."""
    parser.add_argument(
        "--output-format", metavar="FORMAT", type=arguments.output_format,
        help=f"what stdout gets: {', '.join(OUTPUT_FORMATS)} (default: {DEFAULT})",
    )  # fmt: skip
    parser.add_argument(
        "--report", metavar="FORMAT:PATH", action="append", type=arguments.report, default=[],
        help="write a report to a file, in one of these formats or html (repeatable)",
    )  # fmt: skip
    parser.add_argument("--html", metavar="FILE", help="the same as --report html:FILE")
    parser.add_argument(
        "--json", metavar="FILE", help="the same as --report json:FILE (- for stdout)"
    )


@dataclass(frozen=True)
class Outputs:
    """What was asked for.

    Attributes:
        stdout: the format that stdout gets.
        files: formats and paths.
    """

    stdout: str
    files: tuple[tuple[str, Path], ...]

    def write(self, report: "CoverageReport", difference: "Difference | None" = None) -> None:
        """Write everything; the formats for people end with what changed."""
        console.emit(_render_for_stdout(self.stdout, report))
        if difference is not None and self.stdout in _FOR_PEOPLE:
            console.emit("\n" + DIFFERENCE_RENDERERS[_FOR_PEOPLE[self.stdout]](difference))
        for form, path in self.files:
            write_file(path, RENDERERS[form](report))
            console.say(f"wrote {path}")


# Formats that a comparison can follow, and the format that the comparison then has.
_FOR_PEOPLE = {"full": "full", "concise": "full", "markdown": "markdown"}


def choose_outputs(args: argparse.Namespace) -> Outputs:
    """What the arguments ask for; the paths are tried before any work is done.

    Raises:
        UnwritableError: a file cannot be written.
    """
    given = [*args.report, *((form, getattr(args, form)) for form in ("html", "json"))]
    wanted = [(form, path) for form, path in given if path]
    on_stdout = [form for form, path in wanted if path == STDOUT]
    files = tuple((form, Path(path)) for form, path in wanted if path != STDOUT)
    for _, path in files:
        check_writable(path)
    return Outputs(on_stdout[-1] if on_stdout else args.output_format or DEFAULT, files)


def _render_for_stdout(form: str, report: "CoverageReport") -> str:
    render: Callable[..., str] = RENDERERS[form]
    if form in TERMINAL_RENDERERS:
        return render(report, **console.describe_terminal(sys.stdout))
    return render(report)
