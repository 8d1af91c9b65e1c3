"""`mlx-coverage doctor` and `build-runtime`: what is installed here, and the native runtime."""

import argparse
import sys
from typing import Any

from mlx_coverage.cli import exits


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare both commands."""
    doctor = commands.add_parser(
        "doctor",
        parents=[shared],
        help="say what is installed, and whether it fits together",
        description="Show versions, device, compiler, runtime and fast matrix products; exit "
        "with 1 when something is missing or broken.",
    )
    doctor.set_defaults(run=run)
    build = commands.add_parser(
        "build-runtime",
        parents=[shared],
        help="compile the native runtime now rather than at first use",
        description="Compile the runtime for the installed executorch and mlx, and print its path.",
    )
    build.set_defaults(run=run_build)


def run(args: argparse.Namespace) -> int:
    """Print the facts on stdout and each problem on a line of its own."""
    del args
    from mlx_coverage import __version__
    from mlx_coverage.runtime.environment import inspect

    found = inspect()
    facts = {
        "mlx-coverage": __version__,
        "Python": f"{found.python} on {found.system}",
        "torch": found.torch or "missing",
        "executorch": found.executorch or "missing",
        "mlx": f"{found.mlx or 'missing'} ({', '.join(found.mlx_backends) or 'no backend'})",
        "device": found.device or "unknown until the runtime is built",
        "compiler": found.compiler or "missing",
        "runtime": found.runtime_path or "not built yet (mlx-coverage build-runtime)",
        "fast matmul": found.fast_matmul,
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        sys.stdout.write(f"{name:<{width}}  {value}\n")
    for problem in found.problems:
        sys.stdout.write(f"{'PROBLEM':<{width}}  {problem}\n")
    return exits.GATE_FAILED if found.problems else exits.PASSED


def run_build(args: argparse.Namespace) -> int:
    """Print the path of the library, compiled now unless it is in the cache."""
    del args
    from mlx_coverage.runtime.build import build

    sys.stdout.write(f"{build(verbose=True)}\n")
    return exits.PASSED
