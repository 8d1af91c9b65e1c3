"""`mlx-coverage run`: a program file in ExecuTorch's runtime, timed."""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.cli import console, exits

if TYPE_CHECKING:
    from mlx_coverage.analyze.execution import Execution
    from mlx_coverage.analyze.program_file import Input, Method


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "run",
        parents=[shared],
        help="run a .pte on random or saved inputs, and time it",
        description="Run a method of a .pte in ExecuTorch's runtime with the MLX delegate.",
    )
    parser.add_argument(
        "program", metavar="PROGRAM",
        help="a .pte lowered with MLXPartitioner; with --profile also a model, as check takes it",
    )  # fmt: skip
    parser.add_argument("--method", metavar="NAME", help="default: forward, or the only one")
    parser.add_argument(
        "--inputs", metavar="FILE", help="a list or tuple saved with torch.save; default: random"
    )
    parser.add_argument(
        "--repeat", metavar="N", type=_count, default=10, help="timed calls (default: 10)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), help="default: what MLX has")
    parser.add_argument(
        "--save-outputs", metavar="FILE", help="save the first call's outputs with torch.save"
    )
    parser.add_argument(
        "--profile", action="store_true",
        help="say where the time goes: by delegate and CPU kernel, and inside delegates by op, "
        "with source lines where a model is given",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the profile as JSON")
    parser.set_defaults(run=run, accepted=(".pte",))


def run(args: argparse.Namespace) -> int:
    """Run the program; the first call's outputs are described, the later calls timed."""
    if args.json and not args.profile:
        args.refuse("--json writes a profile; add --profile")
    if args.profile:
        return profile(args)
    with console.quiet(), console.progress("loading torch and executorch"):
        from mlx_coverage import runtime
        from mlx_coverage.analyze.execution import Execution, refuse_foreign
        from mlx_coverage.analyze.program_file import choose_method, draw_inputs, read_program
        from mlx_coverage.report import check_writable, write_file
    import torch

    path = Path(args.program)
    if args.save_outputs:
        check_writable(Path(args.save_outputs))
    methods = read_program(path)
    refuse_foreign(path, methods)
    method = choose_method(path, methods, args.method)
    inputs = _load_inputs(Path(args.inputs), method) if args.inputs else draw_inputs(method)
    with console.quiet():
        if args.device:
            runtime.set_options(device=args.device)
        execution = Execution(path, method)
        outputs = execution(inputs)
        times = _time(execution, execution.arrange(inputs), args.repeat)
    sys.stdout.write("\n".join(_show(path, method, inputs, outputs, times)) + "\n")
    if args.save_outputs:
        write_file(Path(args.save_outputs), lambda file: torch.save(outputs, file))
        console.say(f"wrote {args.save_outputs}")
    return exits.PASSED


def profile(args: argparse.Namespace) -> int:
    """Trace the program, or the model once it is lowered."""
    from mlx_coverage.report import check_writable, write_file
    from mlx_coverage.report.profile import render_profile_json, render_profile_text

    if args.json:
        check_writable(Path(args.json))
    with console.quiet(), console.progress("loading torch and executorch"):
        from mlx_coverage import runtime
        from mlx_coverage.analyze.execution import refuse_foreign
        from mlx_coverage.analyze.profile import profile_program
        from mlx_coverage.analyze.program_file import choose_method, draw_inputs, read_program

    with console.quiet(), _lower(args) as (path, owners, given):
        if args.device:
            runtime.set_options(device=args.device)
        methods = read_program(path)
        refuse_foreign(path, methods)
        method = choose_method(path, methods, args.method)
        inputs = _load_inputs(Path(args.inputs), method) if args.inputs else given.get(method.name)
        with console.progress("tracing calls"):
            found = profile_program(
                path, method, inputs or draw_inputs(method), args.repeat, owners.get(method.name)
            )
    console.emit(render_profile_text(found))
    if args.json:
        write_file(Path(args.json), render_profile_json(found))
        console.say(f"wrote {args.json}")
    return exits.PASSED


@contextmanager
def _lower(args: argparse.Namespace) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """The program file; of a model also the nodes of its steps, and example inputs, by method."""
    if args.program.endswith(".pte"):
        yield Path(args.program), {}, {}
        return
    from torch.utils import _pytree as pytree

    from mlx_coverage.analyze import capture, load
    from mlx_coverage.analyze.execution import store
    from mlx_coverage.analyze.profile import find_owners
    from mlx_coverage.lowering.partitioner import MLXPartitioner

    with load.open_model(args.program) as methods:
        programs = capture.export_methods(methods)
        with console.progress("lowering"):
            lowered = capture.lower_methods(programs, MLXPartitioner)
    if lowered.program is None:
        raise lowered.refusals[0]
    plans = lowered.plans.items()
    owners = {name: find_owners(lowered.program, plan, name) for name, plan in plans}
    inputs = {n: pytree.tree_leaves(program.example_inputs) for n, program in programs.items()}
    with store(lowered.program) as path:
        yield path, owners, inputs


def _load_inputs(path: Path, method: "Method") -> list[Any]:
    import torch

    from mlx_coverage.analyze.failures import InputError

    if not path.is_file():
        raise InputError(f"{path}: there is no such file; accepted: a list saved with torch.save")
    try:
        loaded = torch.load(path, weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} is no file of tensors and numbers; accepted: a list or tuple of them, saved "
            "with torch.save"
        ) from error
    inputs = [loaded] if isinstance(loaded, torch.Tensor) else loaded
    if not isinstance(inputs, (list, tuple)):
        raise InputError(f"{path} holds a {type(loaded).__name__}; accepted: a list or tuple")
    if len(inputs) != len(method.inputs):
        raise InputError(
            f"{path} holds {len(inputs)} inputs; {method.name} takes {len(method.inputs)}: "
            f"{', '.join(map(str, method.inputs))}"
        )
    for number, (given, wanted) in enumerate(zip(inputs, method.inputs, strict=True)):
        if not _fits(given, wanted):
            raise InputError(
                f"{path}: input {number} is {_describe(given)}; {method.name} takes {wanted}"
            )
    return list(inputs)


def _fits(given: Any, wanted: "Input") -> bool:
    import torch

    if wanted.dtype is None or not isinstance(given, torch.Tensor):
        return wanted.dtype is None and given == wanted.value
    if given.dtype != wanted.dtype or given.dim() != len(wanted.shape):
        return False
    pairs = list(zip(given.shape, wanted.shape, strict=True))
    return all(a == b for a, b in pairs) or (wanted.dynamic and all(a <= b for a, b in pairs))


def _time(execution: "Execution", inputs: list[Any], repeat: int) -> list[float]:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        execution.call(inputs)
        times.append(1000 * (time.perf_counter() - start))
    return times


def _show(
    path: Path,
    method: "Method",
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    times: Sequence[float],
) -> Iterator[str]:
    from mlx_coverage import runtime

    on_mlx = runtime.BACKEND_ID in method.backends
    where = f"MLX on {runtime.device()}" if on_mlx else "ExecuTorch alone: nothing is delegated"
    yield f"{path}: {method.name}, {where}"
    for kernel in method.kernels:
        yield f"  falls back: {kernel}"
    for number, value in enumerate(inputs):
        yield f"  input {number}: {_describe(value)}"
    for number, value in enumerate(outputs):
        yield f"  output {number}: {_describe(value)}{_range(value)}"
    yield (
        f"  time: median {statistics.median(times):.3f} ms, minimum {min(times):.3f} ms, "
        f"{len(times)} calls"
    )


def _describe(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return repr(value)
    return f"{str(dtype).removeprefix('torch.')} {list(value.shape)}"


def _range(value: Any) -> str:
    if getattr(value, "dtype", None) is None or value.is_complex() or value.numel() == 0:
        return ""
    values = value.double()
    return f", from {values.min().item():.6g} to {values.max().item():.6g}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of calls; accepted: 1 or more")
    return int(text)
