"""`mlx-coverage export`: a model as a `.pte`, compared with eager torch on request."""

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.cli import check, console, exits
from mlx_coverage.cli.outputs import refuse_overwriting
from mlx_coverage.cli.partitioning import configure_partitioner
from mlx_coverage.cli.settings import apply_settings

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mlx_coverage.analyze.capture import Lowering
    from mlx_coverage.analyze.load import Methods


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "export",
        parents=[shared],
        help="lower a model to a .pte that runs on MLX",
        description="Export a model, lower it with MLXPartitioner and write the .pte.",
    )
    check.add_model(parser)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the .pte to write")
    parser.add_argument(
        "--verify", action="store_true",
        help="run the program before it is written, and compare it with eager torch",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the program, unless it does not lower or (with --verify) computes something else."""
    from mlx_coverage.report.files import check_writable, stage_file

    apply_settings(args)
    path = Path(args.output)
    check_writable(path)
    refuse_overwriting(args.model, [path])
    with console.quiet():
        with console.progress("loading torch and executorch"):
            from mlx_coverage.analyze import capture, load
            from mlx_coverage.analyze.attest import lacks_weights
            from mlx_coverage.analyze.execution import finish
            from mlx_coverage.analyze.failures import InputError
            from mlx_coverage.analyze.interface import find_unwritable
        with load.open_model(args.model) as methods:
            with console.progress(f"exporting {args.model}"):
                programs = capture.export_methods(methods)
            if lacks_weights(programs):
                raise InputError(
                    f"{args.model} has no weights to write (meta tensors); load them, or see what "
                    "would run on MLX with mlx-coverage check"
                )
            for refusal in filter(None, map(find_unwritable, programs.values())):
                raise refusal
            with console.progress("lowering"):
                lowered = capture.lower_methods(programs, configure_partitioner(args))
                if lowered.refused is not None:
                    raise lowered.refused
                program = finish(lowered.lowered)
            with stage_file(path) as scratch:
                with scratch.open("wb") as file:
                    program.write_to_file(file)
                lines = _verify(scratch, methods, programs) if args.verify else []
    summary = [f"{path}: {_format_size(path.stat().st_size)}, {_count(lowered)}", *lines]
    sys.stdout.write("\n".join(summary) + "\n")
    return exits.PASSED


def _count(lowered: "Lowering") -> str:
    from mlx_coverage.analyze.model import format_count, format_share

    plans = lowered.plans.values()
    nodes = sum(len(plan.placements) for plan in plans)
    delegated = sum(plan.delegated for plan in plans)
    partitions = sum(len(plan.partitions) for plan in plans)
    return (
        f"{format_share(delegated, nodes)} on MLX ({delegated} of {format_count(nodes, 'node')}), "
        f"{format_count(partitions, 'partition')}"
    )


def _verify(path: Path, methods: "Methods", programs: Mapping[str, "ExportedProgram"]) -> list[str]:
    from mlx_coverage.analyze.comparison import verify_results
    from mlx_coverage.analyze.execution import Execution
    from mlx_coverage.analyze.failures import AttestationError
    from mlx_coverage.analyze.program_file import read_program

    lines = []
    loaded = {method.name: method for method in read_program(path)}
    for name, program in programs.items():
        execution = Execution(path, loaded[name])
        try:
            error = verify_results(name, execution, methods[name], program)
        except AttestationError as difference:
            _refuse_foreign_difference(name, difference, methods)
            raise
        lines.append(f"  verified {name}: largest difference from eager torch {error:.2g}")
    return lines


def _refuse_foreign_difference(name: str, difference: Exception, methods: "Methods") -> None:
    """Say so where the method differs from torch with nothing delegated as well."""
    from mlx_coverage.analyze import capture
    from mlx_coverage.analyze.comparison import verify_results
    from mlx_coverage.analyze.execution import execute
    from mlx_coverage.analyze.failures import (
        AttestationError,
        CaptureError,
        ForeignDifferenceError,
        InputError,
    )

    try:
        programs = capture.export_methods(methods)  # sizes of the others may be taken already
        lowered = capture.lower_undelegated(programs)
        run = partial(execute, lowered, name)
        verify_results(name, run, methods[name], programs[name])
    except AttestationError as error:
        raise ForeignDifferenceError(
            f"{difference}; so it does with nothing on MLX: rewrite the op that ExecuTorch's own "
            "kernels compute otherwise, or leave --verify out"
        ) from error
    except (CaptureError, InputError):
        return  # ExecuTorch alone does not run it


def _format_size(size: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"
