"""`check` against `torch.export` alone, on every example; each time in a process of its own.

`python -m benchmarks.check_time [EXAMPLE ...]`. Two ratios of CPU seconds: of the whole
processes, imports and the first export and plan included, and of a second export and check
in the same processes. `--export EXAMPLE` and `--check EXAMPLE` are those processes.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 3.0


def main() -> int:
    """Print both ratios of each example; 1 when a whole process is over the limit."""
    if sys.argv[1:2] in (["--export"], ["--check"]):
        measure(sys.argv[1], sys.argv[2])
        return 0
    from benchmarks.timing import describe_machine

    print(describe_machine())
    print(f"\n  {'CPU seconds':14}{'export':>9}{'check':>9}{'ratio':>8}", end="")
    print(f"{'again: export':>18}{'check':>9}{'ratio':>8}")
    over = False
    for name in sys.argv[1:] or list_examples():
        (export, export_again), (check, check_again) = (
            run_alone(f"--{kind}", name) for kind in ("export", "check")
        )
        again = f"{export_again:18.2f}{check_again:9.2f}{check_again / export_again:7.2f}x"
        print(f"  {name:14}{export:9.2f}{check:9.2f}{check / export:7.2f}x{again}", flush=True)
        over |= check / export > LIMIT
    return int(over)


def list_examples() -> list[str]:
    """Names of the files in `examples` that hold a model."""
    files = sorted((ROOT / "examples").glob("*.py"))
    return [file.stem for file in files if "def model(" in file.read_text()]


def run_alone(kind: str, name: str) -> tuple[float, float]:
    """CPU seconds of a process up to its first result, and of doing the same again."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.check_time", kind, name]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    first, again = json.loads(done.stdout.splitlines()[-1])
    return first, again


def measure(kind: str, name: str) -> None:
    """Print the CPU seconds of this process after one round, and those of another round."""
    run = prepare_export(name) if kind == "--export" else prepare_check(name)
    run()
    first = time.process_time()
    run()
    print(json.dumps([first, time.process_time() - first]))


def prepare_export(name: str) -> Callable[[], Any]:
    """What exports the methods of an example; imports nothing but torch."""
    import importlib

    import torch

    given = importlib.import_module(f"examples.{name}").model()
    methods = given if isinstance(given, dict) else {"forward": given}

    def run() -> None:
        for module, args, kwargs, shapes in methods.values():
            torch.export.export(module, args, kwargs, dynamic_shapes=shapes)

    return run


def prepare_check(name: str) -> Callable[[], Any]:
    """The command, its report thrown away."""
    import os
    from contextlib import redirect_stdout

    from mlx_coverage.cli import main as run_command

    def run() -> None:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            run_command(["check", f"examples/{name}.py", "--no-settings"])

    return run


if __name__ == "__main__":
    sys.exit(main())
