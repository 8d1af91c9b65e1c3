"""`check` of full-size models without weights: memory at its highest, and time against export.

Takes presets of the zoo as arguments; one process each is right, since the peak is the
process's.
"""

import sys
import time
from functools import partial

from benchmarks.memory import MB, read_peak
from benchmarks.timing import describe_machine
from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.capture import export_methods, plan_methods
from mlx_coverage.analyze.load import open_model

LIMIT = 1 << 30  # bytes resident
RATIO = 3.0


def main() -> int:
    """Print both figures of each preset; 1 when one is over its limit."""
    print(describe_machine())
    over = False
    for name in sys.argv[1:] or ("llama-3.2-1b",):
        with open_model(f"zoo:{name}") as methods:
            start = time.process_time()
            programs = export_methods(methods)
            exported = time.process_time() - start
            planned = plan_methods(programs, partial(MLXPartitioner, _plan_only=True))
            ratio = (time.process_time() - start) / exported
        nodes = sum(len(plan.placements) for plan in planned.plans.values())
        print(f"\n{name}, {nodes} nodes")
        print(f"  export         {exported:8.1f} CPU s")
        print(f"  check/export   {ratio:8.2f}, limit {RATIO}")
        print(f"  peak resident  {read_peak() / MB:8.0f} MB, limit {LIMIT / MB:.0f} MB")
        over |= ratio > RATIO or read_peak() > LIMIT
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
