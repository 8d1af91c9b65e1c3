"""`check` against `torch.export` alone, on the Llama example."""

import time

import torch

from benchmarks.timing import describe_machine
from examples import llama
from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.capture import plan_methods


def main() -> None:
    """Print the parts of a check."""
    print(describe_machine())
    module, args, kwargs, shapes = llama.model()

    def export() -> torch.export.ExportedProgram:
        return torch.export.export(module, args, kwargs, dynamic_shapes=shapes)

    export()  # torch's own lazy imports
    start = time.perf_counter()
    program = export()
    exported = time.perf_counter() - start
    seconds = []
    for _ in range(2):  # the first one also imports what is lazy
        start = time.perf_counter()
        planned = plan_methods({"forward": program}, lambda: MLXPartitioner(_plan_only=True))
        seconds.append(time.perf_counter() - start)
    nodes = len(planned.plans["forward"].placements)
    total = exported + min(seconds)
    print(f"\nLlama decoder with a static cache, 2 layers, dynamic length, {nodes} nodes")
    print(f"  torch.export alone                 {exported:8.2f} s     1.00x")
    print(f"  torch.export and check             {total:8.2f} s {total / exported:8.2f}x")


if __name__ == "__main__":
    main()
