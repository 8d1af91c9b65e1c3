"""`mlx-coverage export`: a model as a `.pte`, compared with eager torch on request."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.cli import check, console, exits
from mlx_coverage.cli.generation import add_generation, export_generator, open_generator
from mlx_coverage.cli.outputs import refuse_overwriting
from mlx_coverage.cli.partitioning import configure_partitioner
from mlx_coverage.cli.settings import apply_settings

if TYPE_CHECKING:
    from mlx_coverage.analyze.capture import Lowering


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "export",
        parents=[shared],
        help="lower a model to a .pte that runs on MLX",
        description="Export a model, lower it with MLXPartitioner and write the .pte.",
    )
    check.add_model(parser)
    add_generation(parser)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the .pte to write")
    parser.add_argument(
        "--verify", action="store_true",
        help="run the program before it is written: several calls, values and sizes, each compared "
        "with eager torch",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the program, unless it does not lower or (with --verify) computes something else."""
    from mlx_coverage.report.files import check_writable, stage_file

    apply_settings(args)
    path = Path(args.output)
    check_writable(path)
    refuse_overwriting(args.model, [path])
    source = open_generator(args)
    if source is not None:
        return export_generator(source, path, args)
    with console.quiet():
        with console.progress("loading torch and executorch"):
            from mlx_coverage.analyze import capture, load
            from mlx_coverage.analyze.failures import InputError
            from mlx_coverage.analyze.verification import verify
        with load.open_model(args.model) as methods:
            with console.progress(f"exporting {args.model}"):
                programs = capture.export_methods(methods, args.strict_export)
            if capture.lacks_weights(programs):
                raise InputError(
                    f"{args.model} has no weights to write (meta tensors); load them, or see what "
                    "would run on MLX with mlx-coverage check"
                )
            make, verified = configure_partitioner(args), []
            with console.progress("lowering"):
                lowered = capture.lower_methods(programs, make)
            for refusal in lowered.refusals:
                console.say(refusal.describe())
            if lowered.program is None:
                return exits.MODEL_FAILED
            with stage_file(path) as scratch:
                with scratch.open("wb") as file:
                    lowered.program.write_to_file(file)
                if args.verify:
                    with console.progress("comparing with eager torch"):
                        verified = verify(methods, programs, scratch, make)
    summary = summarize(path, lowered)
    sys.stdout.write("\n".join([summary, *(f"  {line}" for line in verified)]) + "\n")
    return exits.PASSED


def summarize(path: Path, lowered: "Lowering") -> str:
    """What was written, in one line."""
    from mlx_coverage.analyze.model import format_count, format_share

    plans = lowered.plans.values()
    nodes = sum(len(plan.placements) for plan in plans)
    delegated = sum(plan.delegated for plan in plans)
    partitions = sum(len(plan.partitions) for plan in plans)
    return (
        f"{path}: {_format_size(path.stat().st_size)}, "
        f"{format_share(delegated, nodes)} on MLX ({delegated} of {format_count(nodes, 'node')}), "
        f"{format_count(partitions, 'partition')}"
    )


def _format_size(size: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"
