"""Run every benchmark in a process of its own, because options and peaks are per process."""

import subprocess
import sys
from pathlib import Path

NAMES = (
    "plain_mlx",
    "elementwise_chain",
    "check_time",
    "full_size",
    "plan_time",
    "memory",
    "long_axes",
)


def main() -> int:
    """Run the named benchmarks, or all; nonzero when one is over its limit."""
    names = sys.argv[1:] or NAMES
    root = Path(__file__).resolve().parent.parent
    codes = []
    for name in names:
        print(f"\n$ python -m benchmarks.{name}", flush=True)
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}"]
        codes.append(subprocess.run(command, cwd=root, check=False).returncode)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
