"""Reductions over short and long axes: the delegate, plain `mlx.core`, and how far each is off."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.programs import Method, lower, no_grad
from benchmarks.timing import describe_machine, time_functions
from mlx_coverage.registry.mx import import_mlx

mx = import_mlx()
SHORT, LONG = (1000, 1000), (1, 25_000_000)

CALLS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Any], Any]]] = {
    "sum": (lambda x: x.sum(1), lambda x: mx.sum(x, 1)),
    "mean": (lambda x: x.mean(1), lambda x: mx.mean(x, 1)),
    "var": (lambda x: x.var(1), lambda x: mx.var(x, 1, ddof=1)),
    "norm": (lambda x: x.norm(dim=1), lambda x: mx.sqrt(mx.sum(mx.square(x), 1))),
    "logsumexp": (lambda x: x.logsumexp(1), lambda x: mx.logsumexp(x, 1)),
    "softmax": (lambda x: x.softmax(1), lambda x: mx.softmax(x, 1)),
    "cumsum": (lambda x: x.cumsum(1), lambda x: mx.cumsum(x, 1)),
    "layer_norm": (
        lambda x: nn.functional.layer_norm(x, (x.shape[1],)),
        lambda x: mx.fast.layer_norm(x, None, None, 1e-5),
    ),
}


class Single(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def measure(name: str, shape: tuple[int, int]) -> str:
    """One line: times, their ratio, and the relative errors against float64."""
    function, plain = CALLS[name]
    model = Single(function).eval()
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 4.5
    array, method = mx.array(x.numpy()), Method(lower(model, (x,)))
    functions = {
        "plain": lambda: mx.eval(plain(array)),
        "delegate": lambda: method(x),
        "torch": no_grad(lambda: model(x)),
    }
    times = time_functions(functions, seconds=2.0)
    exact = model(x.double())
    results = (method(x)[0], torch.from_numpy(mx.array(plain(array)).__array__()), model(x))
    errors = [float(((r.double() - exact) / exact).abs().nanmean()) for r in results]
    return (
        f"  {name:12}{times['plain'] * 1e3:9.2f} ms{times['delegate'] * 1e3:9.2f} ms"
        f"{times['delegate'] / times['plain']:7.2f}x{times['torch'] * 1e3:9.2f} ms"
        + "".join(f"{error:11.1e}" for error in errors)
    )


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    print(describe_machine())
    for shape in (SHORT, LONG):
        print(f"\n{shape[0]:,} rows of {shape[1]:,}: mlx.core, delegate, ratio, torch; mean errors")
        print(" " * 52 + "   delegate   mlx.core      torch")
        for name in CALLS:
            print(measure(name, shape), flush=True)


if __name__ == "__main__":
    main()
