"""`check` of full-size models without weights: memory at its highest, and time against export.

`python -m benchmarks.full_size [PRESET ...]`. Export and the whole command, page and JSON file
included, run in processes of their own: `--export PRESET` and `--check PRESET`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.memory import read_peak
from benchmarks.timing import describe_machine

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ("llama-3.2-1b", "qwen3.5-35b-a3b")
LIMIT = 10**9  # bytes resident
MB = 10**6
RATIO = 4.0


def main() -> int:
    """Print both figures of each preset; 1 when one is over its limit."""
    if sys.argv[1:2] in (["--export"], ["--check"]):
        measure(sys.argv[1], f"zoo:{sys.argv[2]}")
        return 0
    print(describe_machine())
    over = False
    for name in sys.argv[1:] or PRESETS:
        (exported, export_peak), (checked, peak) = (
            run_alone(f"--{kind}", name) for kind in ("export", "check")
        )
        print(f"\n{name}")
        print(f"  torch.export   {exported:8.1f} CPU s  {export_peak / MB:8.0f} MB resident")
        print(f"  check          {checked:8.1f} CPU s  {peak / MB:8.0f} MB, limit {LIMIT / MB:.0f}")
        print(f"  check/export   {checked / exported:8.2f}x, limit {RATIO}", flush=True)
        over |= checked / exported > RATIO or peak > LIMIT
    return int(over)


def run_alone(kind: str, name: str) -> tuple[float, int]:
    """CPU seconds and highest resident bytes of a process, imports and the model included."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.full_size", kind, name]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def measure(kind: str, model: str) -> None:
    """Export a model with torch alone, or check it; print the figures of this process."""
    if kind == "--export":
        import torch

        from mlx_coverage.analyze.load import Exportable, open_model

        with open_model(model) as methods:
            for given in methods.values():
                assert isinstance(given, Exportable)
                torch.export.export(
                    given.module, given.args, given.kwargs, dynamic_shapes=given.dynamic_shapes
                )
    else:
        from mlx_coverage.cli import main as run_command

        with (
            tempfile.TemporaryDirectory() as folder,
            open(os.devnull, "w") as nowhere,
            redirect_stdout(nowhere),
        ):
            files = ["--html", f"{folder}/report.html", "--json", f"{folder}/report.json"]
            assert run_command(["check", model, *files, "--no-settings"]) == 0
    print(json.dumps([time.process_time(), read_peak()]))


if __name__ == "__main__":
    sys.exit(main())
