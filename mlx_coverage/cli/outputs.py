"""Where a report goes: one format on stdout, any number of files."""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlx_coverage.analyze.difference import compare_reports
from mlx_coverage.cli import arguments, console
from mlx_coverage.report import UnwritableError, check_writable, render_html, write_file
from mlx_coverage.report.contrast import CONTRAST_RENDERERS
from mlx_coverage.report.difference import DIFFERENCE_RENDERERS
from mlx_coverage.report.formats import OUTPUT_FORMATS, RENDERERS, TERMINAL_RENDERERS
from mlx_coverage.report.redaction import hide_folders, hide_source
from mlx_coverage.report.text import sanitize
from mlx_coverage.report.verdict import describe_headline

if TYPE_CHECKING:
    from mlx_coverage.analyze.contrast import Contrast
    from mlx_coverage.analyze.difference import Difference
    from mlx_coverage.analyze.model import CoverageReport

T = TypeVar("T")

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
    parser.add_argument(
        "--no-source", action="store_true", help="leave the model's source out of all outputs"
    )
    parser.add_argument(
        "--redact-paths", action="store_true", help="leave folders out of all outputs"
    )


@dataclass(frozen=True)
class Outputs:
    """What was asked for.

    Attributes:
        stdout: the format that stdout gets.
        files: formats and paths.
        hide: what makes the outputs fit to be shown to others, applied in this order.
        quiet: whether stdout gets the headline alone.
    """

    stdout: str
    files: tuple[tuple[str, Path], ...]
    hide: tuple[Callable[[Any], Any], ...] = ()
    quiet: bool = False

    def write(self, report: "CoverageReport", difference: "Difference | None" = None) -> None:
        """Write everything; the formats for people, and the page, say what changed."""
        report = self._hide(report)
        if difference is not None and self.hide:
            difference = compare_reports(self._hide(difference.old), report)
        if self.quiet:
            console.emit(f"{sanitize(report.model)}: {sanitize(describe_headline(report))}\n")
        else:
            console.emit(_render_for_stdout(self.stdout, report))
        if difference is not None and not self.quiet and self.stdout in _FOR_PEOPLE:
            console.emit("\n" + DIFFERENCE_RENDERERS[_FOR_PEOPLE[self.stdout]](difference))
        page = partial(render_html, difference=difference)
        self._write_files(report, {**RENDERERS, "html": page})

    def write_contrast(self, contrast: "Contrast") -> None:
        """Write everything; the formats are those of `CONTRAST_RENDERERS`."""
        contrast = self._hide(contrast)
        console.emit(CONTRAST_RENDERERS[self.stdout](contrast))
        self._write_files(contrast, CONTRAST_RENDERERS)

    def _write_files(self, shown: T, renderers: Mapping[str, Callable[[T], str]]) -> None:
        for form, path in self.files:
            write_file(path, renderers[form](shown))
            console.say(f"wrote {path}")

    def _hide(self, shown: T) -> T:
        return reduce(lambda value, hide: hide(value), self.hide, shown)


# Formats that a comparison can follow, and the format that the comparison then has.
_FOR_PEOPLE = {"full": "full", "concise": "full", "markdown": "markdown"}


def choose_outputs(
    args: argparse.Namespace, accepted: Collection[str] = tuple(RENDERERS)
) -> Outputs:
    """What the arguments ask for; the paths are tried before any work is done.

    Args:
        args: of the command line.
        accepted: the formats that there are.

    Raises:
        InputError: a format is not accepted.
        UnwritableError: a file cannot be written, or is the model, or is named twice.
    """
    given = [*args.report, *((form, getattr(args, form)) for form in ("html", "json"))]
    wanted = [(form, path) for form, path in given if path]
    on_stdout = [form for form, path in wanted if path == STDOUT]
    files = tuple((form, Path(path)) for form, path in wanted if path != STDOUT)
    for _, path in files:
        check_writable(path)
    refuse_overwriting(args.model, [path for _, path in files])
    if len(on_stdout) > 1:
        raise UnwritableError(f"stdout gets one format, not {' and '.join(on_stdout)}")
    hide = [hide_source] * args.no_source + [hide_folders] * args.redact_paths
    stdout = on_stdout[-1] if on_stdout else args.output_format or DEFAULT
    _refuse_formats(args, accepted, (stdout, *(form for form, _ in files)))
    return Outputs(stdout, files, tuple(hide))


def refuse_overwriting(model: str, paths: Sequence[Path]) -> None:
    """Refuse to write over the model's own file, and one file twice.

    Raises:
        UnwritableError: a path is one of these.
    """
    taken = {os.path.realpath(model.partition("::")[0]): "the model itself"}
    for path in paths:
        place = os.path.realpath(path)
        if place in taken and not path.is_char_device():
            raise UnwritableError(f"{path} is {taken[place]}; name another file")
        taken[place] = "the file of another report"


def _refuse_formats(
    args: argparse.Namespace, accepted: Collection[str], wanted: Iterable[str]
) -> None:
    for form in wanted:
        if form not in accepted:
            from mlx_coverage.analyze.failures import InputError

            raise InputError(
                f"--target {args.target} has no format {form!r}; accepted: {', '.join(accepted)}"
            )


def _render_for_stdout(form: str, report: "CoverageReport") -> str:
    render: Callable[..., str] = RENDERERS[form]
    if form in TERMINAL_RENDERERS:
        return render(report, **console.describe_terminal(sys.stdout))
    return render(report)
