"""Gates: what makes a check fail although the model was analysed (exit code 1)."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_coverage.analyze.difference import GATES
from mlx_coverage.cli import arguments, console, exits

if TYPE_CHECKING:
    from mlx_coverage.analyze.difference import Difference
    from mlx_coverage.analyze.model import CoverageReport


def add_gates(parser: argparse.ArgumentParser) -> None:
    """The arguments that set a threshold, or compare with an earlier report."""
    parser.add_argument(
        "--fail-under", metavar="PCT", type=arguments.percentage,
        help="exit with 1 when a smaller share of the nodes is on MLX",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", metavar="FILE", help="compare with a report that --json wrote earlier"
    )
    add_fail_on(parser)


def add_fail_on(parser: argparse.ArgumentParser) -> None:
    """The argument that says which changes fail."""
    parser.add_argument(
        "--fail-on", metavar="GATES", type=arguments.gates,
        help=f"exit with 1 on these changes: {', '.join(GATES)}",
    )  # fmt: skip


def read_report(path: Path) -> "CoverageReport":
    """A report that `check --json` wrote.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    from mlx_coverage.analyze.failures import InputError
    from mlx_coverage.analyze.model import ReportFormatError, from_json

    accepted = "accepted: a file that mlx-coverage check --json wrote"
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; {accepted}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read; {accepted}") from error
    except ReportFormatError as error:
        raise InputError(f"{path}: {error}; make it again with mlx-coverage check --json") from None


def hold_share(report: "CoverageReport", threshold: float | None) -> int:
    """The exit code of `--fail-under`."""
    if threshold is None or not report.methods:
        # A model that did not reach the plan has failed already, and has no share.
        return exits.PASSED
    from mlx_coverage.analyze.model import format_share

    if report.nodes and report.delegated * 100 >= threshold * report.nodes:
        return exits.PASSED
    share = format_share(report.delegated, report.nodes)
    console.say(
        f"{share} ({report.delegated} of {report.nodes} nodes) is on MLX; "
        f"--fail-under asks for {threshold:g} %"
    )
    return exits.GATE_FAILED


def hold_changes(difference: "Difference | None", names: list[str] | None) -> int:
    """The exit code of `--fail-on`; each change that fails is a line on stderr."""
    if difference is None or not names:
        return exits.PASSED
    found = [(name, sentence) for name in names for sentence in GATES[name](difference)]
    for name, sentence in found:
        console.say(f"{name}: {sentence}")
    return exits.GATE_FAILED if found else exits.PASSED
