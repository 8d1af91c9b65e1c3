"""`check --target`: whose delegate is asked."""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, get_args

from mlx_coverage.analyze.model import CoverageReport, TargetName
from mlx_coverage.cli import console, exits
from mlx_coverage.report.contrast import CONTRAST_RENDERERS

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OURS: TargetName = "mlx-coverage"
BOTH = "both"
TARGETS = (*get_args(TargetName), BOTH)
# What is about this package's delegate.
_OF_OURS = ["verify", "exclude", "fixes", "fix_decompositions"]
# What `--target both` has no use for: it gives one table, on stdout.
_OF_ONE = ["baseline", "fail_on", "fail_under", "report", "html", "json"]


def add_target(parser: argparse.ArgumentParser) -> None:
    """The argument that names a delegate."""
    parser.add_argument(
        "--target", choices=TARGETS, default=OURS,
        help="whose delegate: this package's (default), the one that comes with executorch, by "
        "its own support check, or both side by side, op by op",
    )  # fmt: skip


def refuse_options(args: argparse.Namespace) -> None:
    """Options that say something of one delegate only.

    Raises:
        InputError: one is given for another.
    """
    if args.target == OURS:
        return
    from mlx_coverage.analyze.failures import InputError

    names = _OF_OURS + (_OF_ONE if args.target == BOTH else [])
    # `--fail-under 0` is given, too.
    values = {name: getattr(args, name) for name in names}
    given = [n.replace("_", "-") for n, v in values.items() if v or (v == 0 and v is not False)]
    if given:
        raise InputError(
            f"--{given[0]} does not go with --target {args.target}; leave one of them out"
        )


def refuse_baseline(name: str, baseline: CoverageReport, report: CoverageReport) -> None:
    """A baseline of another delegate.

    Raises:
        InputError: it is one.
    """
    if baseline.target == report.target:
        return
    from mlx_coverage.analyze.failures import InputError

    raise InputError(
        f"{name} is a report of --target {baseline.target}; accepted: one of --target "
        f"{report.target}"
    )


def report_upstream(model: str, programs: Mapping[str, "ExportedProgram"]) -> CoverageReport:
    """The report of ExecuTorch's own delegate.

    Raises:
        InputError: the delegate is not there.
        CaptureError: it, or ExecuTorch, refuses a program.
    """
    from mlx_coverage.analyze.summarize import summarize
    from mlx_coverage.analyze.upstream.planning import plan_upstream

    return summarize(model, plan_upstream(programs, console.progress), target="executorch")


def contrast(args: argparse.Namespace) -> int:
    """`--target both`: a table, op by op, on stdout; the exit code.

    Raises:
        InputError: an option that does not go with it, or ExecuTorch's delegate is not there.
        CaptureError: the model fails at a stage, with either delegate.
    """
    form = args.output_format or "full"
    if form not in CONTRAST_RENDERERS:
        from mlx_coverage.analyze.failures import InputError

        raise InputError(
            f"--target both has no format {form!r}; accepted: {', '.join(CONTRAST_RENDERERS)}"
        )
    with console.quiet(), console.progress("loading torch and executorch"):
        from mlx_coverage.analyze import capture, load
        from mlx_coverage.analyze.upstream.claims import contrast_plans
        from mlx_coverage.analyze.upstream.planning import plan_upstream
        from mlx_coverage.lowering.partitioner import MLXPartitioner
        from mlx_coverage.registry import default_registry
    with console.quiet(), load.open_model(args.model) as methods:
        with console.progress(f"exporting {args.model}"):
            programs = capture.export_methods(methods)
        make = partial(
            MLXPartitioner,
            exclude_ops=args.exclude,
            fix_decompositions=args.fix_decompositions,
        )
        ours = capture.plan_methods(programs, make, console.progress)
        theirs = plan_upstream(programs, console.progress)
        found = contrast_plans(args.model, ours, theirs, default_registry())
    console.emit(CONTRAST_RENDERERS[form](found))
    if ours.refused is not None:
        console.say(f"with mlx-coverage, {ours.refused.describe()}")
        return exits.MODEL_FAILED
    return exits.PASSED
