"""Size of the `.pte`, and how far memory rises while lowering, against the weights."""

import resource
import sys
import tempfile
from pathlib import Path

import torch
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn

from benchmarks.timing import describe_machine
from mlx_coverage import MLXPartitioner

MB = 1 << 20


class Stack(nn.Module):
    """Large linear layers: nothing but weights."""

    def __init__(self, layers: int, width: int = 4096) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


def read_resident() -> int:
    """Resident bytes of the process now (Linux), or their peak where that is not told."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return read_peak()
    return int(statm.read_text().split()[1]) * resource.getpagesize()


def read_peak() -> int:
    """The highest resident size of the process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> int:
    """Print both figures; 1 when one is over its limit."""
    print(describe_machine())
    model = Stack(layers=int(sys.argv[1]) if len(sys.argv) > 1 else 16).eval()
    weights = sum(p.nbytes for p in model.parameters())
    program = torch.export.export(model, (torch.randn(1, 4096),))
    before = read_resident()
    partitioner = MLXPartitioner()
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    assert partitioner.plans[0].delegated == len(partitioner.plans[0].placements)
    with tempfile.TemporaryFile() as file:
        edge.to_executorch().write_to_file(file)
        size = file.tell()
    growth = read_peak() - before
    size_limit, growth_limit = weights * 1.01 + 64 * 1024, weights * 1.3 + 600 * MB
    print(f"\nweights {weights / MB:.0f} MB")
    print(f"  .pte             {size / MB:8.1f} MB, limit {size_limit / MB:8.1f} MB")
    print(f"  memory, growth   {growth / MB:8.1f} MB, limit {growth_limit / MB:8.1f} MB")
    return int(size > size_limit or growth > growth_limit)


if __name__ == "__main__":
    sys.exit(main())
