"""`mlx-coverage check`: what of a model runs on MLX, what does not, and why."""

import argparse
import gc
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.analyze.difference import compare_reports
from mlx_coverage.cli import console, exits
from mlx_coverage.cli.gates import add_gates, hold_changes, hold_share, read_report
from mlx_coverage.cli.generation import open_model
from mlx_coverage.cli.outputs import add_outputs, choose_outputs
from mlx_coverage.cli.partitioning import add_partitioner, configure_partitioner
from mlx_coverage.cli.settings import apply_settings
from mlx_coverage.cli.target import (
    BOTH,
    OURS,
    add_target,
    contrast,
    list_files,
    name_ignored,
    name_problems,
    refuse_baseline,
    refuse_options,
    report_upstream,
)
from mlx_coverage.report.inquiry import INQUIRY_RENDERERS

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mlx_coverage.analyze.capture import Capture
    from mlx_coverage.analyze.failures import CaptureError, ForeignDifferenceError
    from mlx_coverage.analyze.load import Methods
    from mlx_coverage.analyze.model import CoverageReport, TargetName
    from mlx_coverage.lowering.partitioner import MLXPartitioner


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        parents=[shared],
        help="say what of a model runs on MLX, and why the rest does not",
        description="Plan a model as a real lowering would, and report what falls back, why, "
        "where in your source, and what would help. No weights are needed.",
    )
    add_model(parser, nargs="*")
    parser.add_argument(
        "-q", "--quiet", action="store_true",
        help="print the verdict's first line alone; files are written all the same",
    )  # fmt: skip
    parser.add_argument(
        "--op", metavar="OP",
        help="instead of a model, look at one op, such as mylib::myop: its entry, what it "
        "decomposes into, what a registration needs",
    )  # fmt: skip
    parser.add_argument(
        "--import", metavar="MODULE", dest="imports", action="append", default=[],
        help="package.module or path.py that registers custom ops (repeatable)",
    )  # fmt: skip
    add_outputs(parser)
    add_gates(parser)
    parser.add_argument(
        "--verify", action="store_true",
        help="lower the model in full as well, compare what is inside the delegates, run it and "
        "compare it with eager torch",
    )  # fmt: skip
    parser.add_argument(
        "--fixes", action="store_true",
        help="try what may mend the findings (a decomposition, cast, layout, overload, static "
        "size, equivalent module), run it, and compare it with eager torch",
    )  # fmt: skip
    parser.add_argument(
        "--measured", metavar="FILE",
        help="what bench --json wrote on a Mac: times are expected by its ratio to the bound",
    )  # fmt: skip
    add_target(parser)
    parser.set_defaults(run=run)


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """The arguments that name a model and steer the partitioner."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs=nargs,
        help="path.py, path.py::name, package.module:name, a saved .pt2, zoo:NAME, or hf:FOLDER (a "
        "language model of transformers, with caches); a name is an "
        "nn.Module with example_inputs beside it, an ExportedProgram, a function that returns "
        "(module, args, kwargs, dynamic_shapes), or a dict of methods",
    )
    parser.add_argument(
        "--strict-export", action="store_true",
        help="export with strict=True from the start (default: where torch.export's default fails)",
    )  # fmt: skip
    add_partitioner(parser)


def run(args: argparse.Namespace) -> int:
    """Check the model; the exit code says how it went, whatever the format."""
    if args.op is not None:
        return inquire(args)
    if not args.model:
        args.refuse("the following arguments are required: MODEL, or --op OP")
    refuse_options(args)
    given = vars(args) | {"explicit": args.fail_on, "excluded": args.exclude}
    apply_settings(args)
    if len(args.model) > 1:
        _refuse_files(args)
    each = (argparse.Namespace(**{**given, **vars(args), "model": model}) for model in args.model)
    return max(map(_run_one, each))


def _refuse_files(args: argparse.Namespace) -> None:
    """Several models share no file, and no document on stdout."""
    form = "json" if args.json else args.output_format
    files = args.html or args.json or args.report or args.baseline
    if files or form not in (None, "full", "concise", "github", "markdown"):
        args.refuse(
            "a file, a baseline and the formats json, sarif, junit and csv belong to one model; "
            "check one at a time, or use mlx-coverage sweep"
        )


def _run_one(args: argparse.Namespace) -> int:
    explicit, excluded = args.explicit, args.excluded
    name_ignored(args)
    if explicit and not args.baseline:
        from mlx_coverage.analyze.failures import InputError

        raise InputError("--fail-on compares with a baseline; add --baseline FILE")
    if args.target == BOTH:
        _import_definitions(args.imports)
        return contrast(args)
    outputs = choose_outputs(args)
    args.ratio = _read_ratio(args.measured) if args.measured else None
    baseline = read_report(Path(args.baseline)) if args.baseline else None
    _import_definitions(args.imports)
    report, code = check_model(args.model, args)
    outputs = replace(outputs, quiet=args.quiet)
    if baseline is not None:
        refuse_baseline(args.baseline, baseline, report)
    difference = compare_reports(baseline, report) if baseline is not None else None
    outputs.write(report, difference)
    name_problems(report)
    _name_unused(excluded, report)
    # Every gate has its say, also when an earlier one failed.
    gates = (hold_share(report, args.fail_under), hold_changes(difference, args.fail_on))
    return code or max(gates)


def _read_ratio(name: str) -> float:
    from mlx_coverage.analyze.benchmark import read_ratio

    try:
        return read_ratio(Path(name))
    except ValueError as error:
        from mlx_coverage.analyze.failures import InputError

        raise InputError(f"--measured {error}") from None


def _name_unused(excluded: Sequence[str], report: "CoverageReport") -> None:
    """Say which `--exclude` kept nothing: the model has no such op, or it became others."""
    from mlx_coverage.lowering.plan import normalize_ops

    kept = {finding.op for method in report.methods for finding in method.findings}
    for op in excluded if report.methods else ():
        if not kept & normalize_ops([op]):
            console.say(f"--exclude {op}: the planned program has no node of that op")


def inquire(args: argparse.Namespace) -> int:
    """Say of one op what the registry has, what a call becomes, and what an entry needs."""
    form = args.output_format or "full"
    if form not in INQUIRY_RENDERERS or args.report or args.html or args.json:
        args.refuse(f"--op has the output formats {', '.join(INQUIRY_RENDERERS)} on stdout")
    with console.quiet(), console.progress(f"looking at {args.op}"):
        from mlx_coverage.analyze import custom_ops
        from mlx_coverage.registry import default_registry

        registry = default_registry()  # plug-ins register ops
        _import_definitions([*args.imports, *args.model])
        inquiry = custom_ops.inquire(custom_ops.find_op(args.op), registry)
    console.emit(INQUIRY_RENDERERS[form](inquiry))
    return exits.PASSED


def _import_definitions(names: Sequence[str]) -> None:
    if names:
        from mlx_coverage.analyze import load

        with console.quiet():
            for name in names:
                load.import_definitions(name)


def check_model(model: str, args: argparse.Namespace) -> tuple["CoverageReport", int]:
    """The report of a model, and the exit code that a failed stage asks for.

    Args:
        model: as named on the command line.
        args: the partitioner's options, `verify`, `traceback` and, if there is one, `target`.
    """
    target = getattr(args, "target", OURS)
    with console.quiet(), console.progress("loading torch and executorch"):
        from mlx_coverage.analyze.failures import CaptureError
        from mlx_coverage.analyze.summarize import summarize_failure
    gc.freeze()  # what was imported stays: no need to look through it again and again
    try:
        with console.quiet():
            report, refusals = _capture(model, args, target)
    except CaptureError as failure:
        if args.traceback:
            traceback.print_exception(failure)
        console.say(failure.describe())
        return summarize_failure(model, failure, target), exits.MODEL_FAILED
    for refusal in refusals:
        said = refusal.describe() if isinstance(refusal, CaptureError) else str(refusal)
        console.say(said)
    runs = report.outcome == "lowers" and not refusals
    return report, exits.PASSED if runs else exits.MODEL_FAILED


def _capture(
    model: str, args: argparse.Namespace, target: "TargetName"
) -> tuple["CoverageReport", "Sequence[CaptureError | ForeignDifferenceError]"]:
    from mlx_coverage.analyze import capture
    from mlx_coverage.analyze.custom_ops import propose_entries
    from mlx_coverage.analyze.failures import CaptureError
    from mlx_coverage.analyze.fixes import add_fixes, try_fixes
    from mlx_coverage.analyze.remarks import list_remarks
    from mlx_coverage.analyze.summarize import summarize
    from mlx_coverage.analyze.suppressions import apply_suppressions
    from mlx_coverage.registry.reasons import BY_SLUG

    with open_model(model) as methods:
        try:
            with console.progress(f"exporting {model}"):
                programs = capture.export_methods(methods, _is_strict(args))
        except CaptureError as failure:
            failure.remarks = list_remarks(methods, {})
            raise
        if target != OURS:
            report = report_upstream(model, programs)
            return apply_suppressions(report, list_files(model), BY_SLUG), ()
        remarks = list_remarks(methods, programs)
        make = configure_partitioner(args)
        fixes = getattr(args, "fixes", False)
        again = None if args.verify or fixes else partial(_export_again, methods, _is_strict(args))
        planned = capture.plan_methods(programs, make, console.progress, again)
        refusals: Sequence[CaptureError | ForeignDifferenceError] = planned.refusals
        if args.verify and not refusals:
            refusals = _verify(methods, programs, planned, make)
        found: tuple[Any, tuple[str, ...]] = ({}, ())
        if fixes:
            with console.progress("trying fixes"):
                found = try_fixes(methods, programs, planned, make)
    del programs, methods, again  # a plan has a graph of its own
    for name, known in found[0].items():
        if known.summary:
            console.say(f"fixes{f' of {name}' if len(found[0]) > 1 else ''}: {known.summary}")
    verified = args.verify and not refusals
    ratio = getattr(args, "ratio", None)
    summary = summarize(model, planned, verified, remarks=remarks, ratio=ratio)
    report = add_fixes(propose_entries(summary), *found)
    return apply_suppressions(report, list_files(model), BY_SLUG), refusals


def _verify(
    methods: "Methods",
    programs: "Mapping[str, ExportedProgram]",
    planned: "Capture",
    make: "partial[MLXPartitioner]",
) -> "Sequence[CaptureError | ForeignDifferenceError]":
    """Hold plan and results against the full lowering; what others refuse or compute otherwise."""
    from mlx_coverage.analyze.capture import lower_attested
    from mlx_coverage.analyze.execution import store
    from mlx_coverage.analyze.failures import CaptureError, ForeignDifferenceError
    from mlx_coverage.analyze.verification import verify

    try:
        with console.progress("lowering in full"):
            program = lower_attested(programs, planned, make)
        with console.progress("comparing with eager torch"), store(program) as path:
            for line in verify(methods, programs, path, make):
                console.say(str(line))
    except (CaptureError, ForeignDifferenceError) as failure:
        return (failure,)
    return ()


def _export_again(methods: "Methods", strict: bool, name: str) -> "ExportedProgram":
    from mlx_coverage.analyze.capture import export_methods

    return export_methods({name: methods[name]}, strict)[name]


def _is_strict(args: argparse.Namespace) -> bool:
    return getattr(args, "strict_export", False)
