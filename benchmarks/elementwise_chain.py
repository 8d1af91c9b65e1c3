"""A chain of 200 small elementwise ops: what an op costs when it has nothing to compute."""

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from torch import Tensor, nn

import mlx_coverage.runtime
from benchmarks.programs import Method, check_equal, lower, no_grad
from benchmarks.timing import describe_machine, print_table, time_functions

OPS = 200


class Chain(nn.Module):
    """100 multiplications and 100 additions, in turns."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(OPS // 2):
            x = x * 1.001 + 0.001
        return x


def main() -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    print(describe_machine())
    model, x = Chain().eval(), torch.randn(256)
    pte = lower(model, (x,))
    delegate = Method(pte)
    portable = Method(lower(model, (x,), []))
    xnnpack = Method(lower(model, (x,), [XnnpackPartitioner()]))
    expected = model(x)
    for method in (delegate, portable, xnnpack):
        check_equal(method(x)[0], expected)
    mlx_coverage.runtime.set_options(compile=False)
    times = time_functions(
        {
            "eager torch": no_grad(lambda: model(x)),
            "ExecuTorch, portable kernels": lambda: portable(x),
            "ExecuTorch, XNNPACK": lambda: xnnpack(x),
            "delegate": lambda: delegate(x),
        }
    )
    mlx_coverage.runtime.set_options(compile=True)
    check_equal(delegate(x)[0], expected)
    times |= time_functions({"delegate with mx::compile": lambda: delegate(x)})
    print_table(f"{OPS} elementwise ops on 256 numbers", times, "eager torch")


if __name__ == "__main__":
    main()
