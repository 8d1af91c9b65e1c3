"""`check --target`: whose delegate is asked."""

import argparse
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mlx_coverage.analyze.contrast import Contrast
from mlx_coverage.analyze.model import CoverageReport, TargetName
from mlx_coverage.cli import console, exits
from mlx_coverage.cli.generation import open_model
from mlx_coverage.cli.outputs import choose_outputs
from mlx_coverage.cli.partitioning import configure_partitioner
from mlx_coverage.cli.settings import FILE
from mlx_coverage.report.contrast import CONTRAST_RENDERERS, describe_failures

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mlx_coverage.analyze.capture import Capture

OURS: TargetName = "mlx-coverage"
BOTH = "both"
TARGETS = (*get_args(TargetName), BOTH)
# What is about this package's delegate.
_OF_OURS = ["verify", "exclude", "fixes", "fix_decompositions"]
# Options that `--target both` refuses: they would apply to one of the two delegates only.
_OF_ONE = ["baseline", "fail_on", "fail_under"]


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

    given = _list_given(args, _OF_OURS + (_OF_ONE if args.target == BOTH else []))
    if given:
        raise InputError(
            f"--{given[0]} does not go with --target {args.target}; leave one of them out"
        )


def name_ignored(args: argparse.Namespace) -> None:
    """Say which settings of pyproject.toml the target has no use for."""
    # `--target both` keeps excluded ops off our side.
    ignored = {OURS: [], BOTH: _OF_ONE}.get(args.target, _OF_OURS)
    given = _list_given(args, ignored)
    if given:
        console.say(f"{FILE}: not applied with --target {args.target}: {', '.join(given)}")


def _list_given(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    values = {name: getattr(args, name) for name in names}
    # `--fail-under 0` is given, too.
    return [n.replace("_", "-") for n, v in values.items() if v or (v == 0 and v is not False)]


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
    """`--target both`: the two side by side, op by op; the exit code.

    Raises:
        InputError: a format that it does not have, or ExecuTorch's delegate is not there.
        UnwritableError: a file cannot be written.
    """
    outputs = choose_outputs(args, CONTRAST_RENDERERS)
    with console.quiet(), console.progress("loading torch and executorch"):
        from mlx_coverage.analyze import capture
        from mlx_coverage.analyze.failures import CaptureError
        from mlx_coverage.analyze.summarize import summarize_failure
    try:
        with console.quiet(), open_model(args.model) as methods:
            with console.progress(f"exporting {args.model}"):
                programs = capture.export_methods(methods)
            found = _contrast(args, programs)
    except CaptureError as failure:
        # Before either delegate sees the model.
        _trace(failure, args)
        ours, theirs = (summarize_failure(args.model, failure, t) for t in get_args(TargetName))
        found = Contrast(ours, theirs, ())
    outputs.write_contrast(found)
    name_problems(found.ours)
    for sentence in describe_failures(found):
        console.say(sentence)
    return exits.MODEL_FAILED if any(found.failures) else exits.PASSED


def _contrast(args: argparse.Namespace, programs: dict[str, "ExportedProgram"]) -> Contrast:
    from mlx_coverage.analyze import capture
    from mlx_coverage.analyze.suppressions import apply_to_both
    from mlx_coverage.analyze.upstream.claims import contrast_plans
    from mlx_coverage.analyze.upstream.planning import plan_upstream
    from mlx_coverage.registry import default_registry
    from mlx_coverage.registry.reasons import BY_SLUG

    make = configure_partitioner(args)  # of the settings
    ours, our_plans = _attempt(
        args, OURS, lambda: capture.plan_methods(programs, make, console.progress)
    )
    theirs, their_plans = _attempt(
        args, "executorch", lambda: plan_upstream(programs, console.progress)
    )
    ours, theirs = apply_to_both(ours, theirs, list_files(args.model), BY_SLUG)
    if our_plans is None or their_plans is None:
        return Contrast(ours, theirs, ())
    return Contrast(ours, theirs, contrast_plans(our_plans, their_plans, default_registry()))


def list_files(model: str) -> list[str]:
    """The model's own file, named as the report names files."""
    path = Path(model.partition("::")[0])
    if path.suffix != ".py":
        return []
    resolved, here = path.resolve(), Path.cwd()
    return [str(resolved.relative_to(here) if resolved.is_relative_to(here) else resolved)]


def name_problems(report: CoverageReport) -> None:
    """Say which comments of the source have no effect, or are not understood."""
    for comment in report.suppressions:
        if comment.problem:
            console.say(f"{comment.file}:{comment.line}: {comment.problem}")


def _attempt(
    args: argparse.Namespace, target: TargetName, plan: Callable[[], "Capture"]
) -> tuple[CoverageReport, "Capture | None"]:
    """One side; where it fails, what the other takes is still worth knowing."""
    from mlx_coverage.analyze.failures import CaptureError
    from mlx_coverage.analyze.summarize import summarize, summarize_failure

    try:
        planned = plan()
    except CaptureError as failure:
        _trace(failure, args)
        return summarize_failure(args.model, failure, target), None
    return summarize(args.model, planned, target=target), planned


def _trace(failure: Exception, args: argparse.Namespace) -> None:
    if args.traceback:
        traceback.print_exception(failure)
