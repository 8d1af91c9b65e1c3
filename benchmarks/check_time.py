"""`check` against `torch.export` alone, on every example; each time in a process of its own.

`python -m benchmarks.check_time [EXAMPLE ...]`. Three ratios of CPU seconds: of the whole
processes, imports and the first export and plan included; of a first export and a first
check where all that `check` imports is imported; and of a second export and check in the same
processes. `--export EXAMPLE`, `--imported-export EXAMPLE` and `--check EXAMPLE` are the
processes.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 2.5
KINDS = ("--export", "--imported-export", "--check")
IMPORTED = (
    "mlx_coverage.analyze.fixes",
    "mlx_coverage.analyze.execution",
    "mlx_coverage.registry.ops",
)
TITLES = ("process: export", "first: export", "again: export")


def main() -> int:
    """Print the ratios of each example; 1 when a whole process is over the limit."""
    if sys.argv[1:2] and sys.argv[1] in KINDS:
        measure(sys.argv[1], sys.argv[2])
        return 0
    from benchmarks.timing import describe_machine

    print(describe_machine())
    print(
        f"\n  {'CPU seconds':14}", *(f"{title:>18} {'check':>6} {'ratio':>6}" for title in TITLES)
    )
    over = False
    for name in sys.argv[1:] or list_examples():
        exported, imported, checked = (run_alone(kind, name) for kind in KINDS)
        exports = (exported[0], imported[1], exported[2])
        pairs = list(zip(exports, checked, strict=True))
        shown = (f"{export:18.2f} {check:6.2f} {check / export:5.2f}x" for export, check in pairs)
        print(f"  {name:14}", *shown, flush=True)
        over |= checked[0] / exported[0] > LIMIT
    return int(over)


def list_examples() -> list[str]:
    """Names of the files in `examples` that hold a model."""
    files = sorted((ROOT / "examples").glob("*.py"))
    return [file.stem for file in files if "def model(" in file.read_text()]


def run_alone(kind: str, name: str) -> list[float]:
    """CPU seconds of a process up to its first result, without its imports, and once more."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.check_time", kind, name]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def measure(kind: str, name: str) -> None:
    """Print the CPU seconds of this process: in all, for the first round, for another."""
    if kind != "--export":
        import_all(name)
    run = prepare_check(name) if kind == "--check" else prepare_export(name)
    imported = time.process_time()
    run()
    first = time.process_time()
    run()
    print(json.dumps([first, first - imported, time.process_time() - first]))


def import_all(name: str) -> None:
    """What `check` imports, and what the example does."""
    import importlib

    for module in (f"examples.{name}", *IMPORTED):
        importlib.import_module(module)


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
