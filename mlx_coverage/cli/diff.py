"""`mlx-coverage diff`: what changed between two reports, or two models."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.analyze.difference import compare_reports
from mlx_coverage.analyze.model import from_json
from mlx_coverage.cli import check, console, exits
from mlx_coverage.cli.gates import add_fail_on, hold_changes, read_report
from mlx_coverage.cli.partitioning import add_partitioner
from mlx_coverage.cli.settings import apply_settings
from mlx_coverage.report import render_difference_text
from mlx_coverage.report.difference import DIFFERENCE_RENDERERS

if TYPE_CHECKING:
    from mlx_coverage.analyze.model import CoverageReport


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "diff",
        parents=[shared],
        help="say what changed between two reports or two models",
        description="Compare two reports that check --json wrote, or two models, or one of "
        "each: what newly falls back, what no longer does, and how the figures changed.",
    )
    for name in ("old", "new"):
        parser.add_argument(name, metavar=name.upper(), help="a .json report, or a model")
    add_partitioner(parser)
    parser.add_argument(
        "--output-format", dest="form", choices=tuple(DIFFERENCE_RENDERERS), default="full",
        help="what stdout gets (default: full)",
    )  # fmt: skip
    add_fail_on(parser)
    parser.set_defaults(run=run, verify=False)


def run(args: argparse.Namespace) -> int:
    """Compare; exit with 3 where a model failed, and with 1 only where `--fail-on` says so."""
    apply_settings(args)
    apart = not _is_report(args.old) and not _is_report(args.new)
    old, failed = _check_apart(args.old, args) if apart else _read(args.old, args)
    if old is None:
        return failed
    new, code = _read(args.new, args)
    difference = compare_reports(old, new)
    if args.form == "full":
        width = console.describe_terminal(sys.stdout)["width"]
        console.emit(render_difference_text(difference, width))
    else:
        console.emit(DIFFERENCE_RENDERERS[args.form](difference))
    gate = hold_changes(difference, args.fail_on)
    return code or failed or gate


def _read(name: str, args: argparse.Namespace) -> tuple["CoverageReport", int]:
    """A report, or that of a model and the exit code that a failed stage asks for."""
    if _is_report(name):
        return read_report(Path(name)), exits.PASSED
    return check.check_model(name, args)


def _is_report(name: str) -> bool:
    return name.endswith(".json")


def _check_apart(model: str, args: argparse.Namespace) -> tuple["CoverageReport | None", int]:
    """Check a model in a process of its own: two versions of a module share a name."""
    command = [sys.executable, "-m", "mlx_coverage", "check", model, "--output-format", "json"]
    command += ["--no-settings", *(f"--exclude={op}" for op in args.exclude)]
    command += ["--traceback"] if args.traceback else []
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (exits.PASSED, exits.MODEL_FAILED):
        return None, done.returncode
    return from_json(done.stdout.decode()), done.returncode
