"""`mlx-coverage check`: what of a model runs on MLX, what does not, and why."""

import argparse
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.cli import console, exits

if TYPE_CHECKING:
    from mlx_coverage.analyze.failures import CaptureError
    from mlx_coverage.analyze.model import CoverageReport

STDOUT = "-"


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        parents=[shared],
        help="say what of a model runs on MLX, and why the rest does not",
        description="Plan a model as a real lowering would, and report what falls back, why, "
        "where in your source, and what would help. No weights are needed.",
    )
    add_model(parser)
    parser.add_argument("--html", metavar="FILE", help="write the report as one HTML file")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON (- for stdout)")
    parser.add_argument(
        "--fail-under", metavar="PCT", type=_percentage, help="exit with 1 below this share"
    )
    parser.add_argument(
        "--verify", action="store_true",
        help="lower the model in full as well, and compare what is inside the delegates",
    )  # fmt: skip
    parser.set_defaults(run=run)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a model and steer the partitioner."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="path.py, path.py::name, package.module:name, or a saved .pt2; the name is an "
        "nn.Module with example_inputs beside it, an ExportedProgram, a function that returns "
        "(module, args, kwargs, dynamic_shapes), or a dict of methods",
    )
    parser.add_argument(
        "--exclude", metavar="OP", action="append", default=[],
        help="keep an op, such as aten.add.Tensor, off the delegate (repeatable)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Check the model; the exit code says how it went."""
    from mlx_coverage.report import check_writable, render_html, render_json, write_file

    renderers: dict[str, Callable[[CoverageReport], str]] = {
        "html": render_html,
        "json": render_json,
    }
    wanted = {form: getattr(args, form) for form in renderers if getattr(args, form)}
    for path in wanted.values():
        if path != STDOUT:
            check_writable(Path(path))
    report, code = _check(args)
    if STDOUT not in wanted.values():
        from mlx_coverage.report import render_text

        sys.stdout.write(render_text(report, **console.describe_terminal(sys.stdout)))
    for form, path in wanted.items():
        if path == STDOUT:
            sys.stdout.write(renderers[form](report))
            continue
        write_file(Path(path), renderers[form](report))
        console.say(f"wrote {path}")
    return code or _hold_gate(report, args.fail_under)


def _check(args: argparse.Namespace) -> tuple["CoverageReport", int]:
    with console.quiet(), console.progress("loading torch and executorch"):
        from mlx_coverage.analyze.failures import CaptureError
        from mlx_coverage.analyze.summarize import summarize_failure
    try:
        with console.quiet():
            report, refused = _capture(args)
    except CaptureError as failure:
        if args.traceback:
            traceback.print_exception(failure)
        console.say(failure.describe())
        return summarize_failure(args.model, failure), exits.MODEL_FAILED
    if refused is not None:
        console.say(refused.describe())
        return report, exits.MODEL_FAILED
    return report, exits.PASSED


def _capture(args: argparse.Namespace) -> tuple["CoverageReport", "CaptureError | None"]:
    from mlx_coverage.analyze import capture, load
    from mlx_coverage.analyze.attest import attest_methods, verify
    from mlx_coverage.analyze.summarize import summarize
    from mlx_coverage.lowering.partitioner import MLXPartitioner

    make = partial(MLXPartitioner, exclude_ops=args.exclude)
    with load.open_model(args.model) as methods:
        with console.progress(f"exporting {args.model}"):
            programs = capture.export_methods(methods)
        with console.progress("lowering to ExecuTorch's edge dialect, and planning"):
            planned = capture.plan_methods(programs, partial(make, _plan_only=True))
            attest_methods(planned.plans, planned.lowered)
        if args.verify and planned.refused is None:
            with console.progress("lowering in full"):
                verify(programs, planned, make)
    verified = args.verify and planned.refused is None
    return summarize(args.model, planned, verified), planned.refused


def _hold_gate(report: "CoverageReport", threshold: float | None) -> int:
    if threshold is None:
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


def _percentage(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; accepted: 0 to 100")
    return value
