"""The partition plan of large graphs: time must grow with the number of nodes."""

import random
import time

from benchmarks.timing import describe_machine
from mlx_coverage.lowering.plan import Options, plan
from mlx_coverage.registry import default_registry
from tests.lowering.graphs import Step, build

FALLBACK = frozenset({"aten.mul.Tensor"})
SIZES = (12_500, 25_000, 50_000, 100_000)


def make_steps(count: int) -> list[Step]:
    """Ops with near and far inputs, one in ten a fallback."""
    draw = random.Random(0)
    kinds = ["add"] * 7 + ["view"] * 2 + ["mul"]
    return [
        Step(draw.choice(kinds), (max(0, i - draw.randrange(4)), draw.randrange(i + 1)))
        for i in range(count)
    ]


def main() -> None:
    """Print time and time for each node."""
    print(f"{describe_machine()}\n")
    registry = default_registry()
    for size in SIZES:
        program = build(make_steps(size))
        start = time.perf_counter()
        found = plan(program, registry, Options(exclude_ops=FALLBACK))
        seconds = time.perf_counter() - start
        print(
            f"  {size:8} nodes {seconds:7.2f} s {seconds / size * 1e6:7.1f} us for each; "
            f"{len(found.partitions)} partitions, {found.delegated} delegated"
        )


if __name__ == "__main__":
    main()
