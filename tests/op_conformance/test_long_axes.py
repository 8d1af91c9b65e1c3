"""Reductions, scans, products and norms over long axes, against float64."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch.nn import functional

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner
from mlx_coverage.lowering import functions
from tests.op_conformance.arrays import to_mlx, to_torch

# Primes, so that no part divides them; of equal signs, so that one loop in float32 loses much.
LONG, ROW = 2_000_003, 5_003

CALLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda x: x.mean(),
    "sum": lambda x: x.sum(),
    "var": lambda x: x.var(),
    "std": lambda x: x.std(),
    "norm": lambda x: x.norm(),
    "norm of order 1": lambda x: x.norm(p=1),
    "norm of order 3": lambda x: x.norm(p=3),
    "logsumexp": lambda x: x.logsumexp(0),
    "softmax": lambda x: x.softmax(0)[:9],
    "log_softmax": lambda x: x.log_softmax(0)[:9],
    "cumsum": lambda x: x.cumsum(0)[-9:],
    "logcumsumexp": lambda x: x.logcumsumexp(0)[-9:],
    "prod": lambda x: ((x - 5).sign() / 1024 + 1).prod(),
    "cumprod": lambda x: ((x - 5).sign() / 1024 + 1).cumprod(0)[-9:],
    "group_norm": lambda x: functional.group_norm(x[None, None], 1)[..., :9],
    "instance_norm": lambda x: functional.instance_norm(x[None, None])[..., :9],
    "mse_loss": lambda x: functional.mse_loss(x, torch.zeros_like(x)),
    "l1_loss": lambda x: functional.l1_loss(x, torch.zeros_like(x)),
    "nansum": lambda x: x.nansum(),
    "dot": lambda x: torch.dot(x, x),
    "pooling": lambda x: functional.adaptive_avg_pool1d(x[None, None], 1),
    "cosine_similarity": lambda x: functional.cosine_similarity(x, x.square(), 0),
}


# The sizes that these normalise over must be static.
STATIC: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "layer_norm": lambda x: functional.layer_norm(x, (LONG,))[:9],
    "rms_norm": lambda x: functional.rms_norm(x, (LONG,))[:9],
}


class Calls(torch.nn.Module):
    """Functions of one tensor."""

    def __init__(self, functions: Iterable[Callable[[torch.Tensor], torch.Tensor]]) -> None:
        super().__init__()
        self._functions = list(functions)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [function(x) for function in self._functions]


def make_numbers(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 4.5


class Loaded:
    """Functions in one delegate, lowered at one length."""

    def __init__(self, calls: dict[str, Any], length: int, dynamic: Any) -> None:
        self.names, self._module = list(calls), Calls(calls.values())
        exported = torch.export.export(
            self._module, (make_numbers(length),), dynamic_shapes=(dynamic,)
        )
        partitioner = MLXPartitioner(min_partition_size=0)
        edge = to_edge_transform_and_lower(exported, partitioner=[partitioner])
        assert {
            str(n.target) for n in edge.exported_program().graph.nodes if n.op == "call_function"
        } == {"executorch_call_delegate", "<built-in function getitem>"}
        mlx_coverage.runtime.load()
        self._program = Runtime.get().load_program(edge.to_executorch().buffer)
        self._method = self._program.load_method("forward")

    def check(self, x: torch.Tensor) -> None:
        """Compare with torch in float64."""
        expected = self._module(x.double())
        for name, one, other in zip(self.names, self._method.execute([x]), expected, strict=True):
            torch.testing.assert_close(
                one.double(), other, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.fixture(scope="module")
def program() -> Loaded:
    """Lowered at a size at which nothing is long, for any size."""
    return Loaded(CALLS, 64, {0: torch.export.Dim("length", min=9, max=LONG)})


@pytest.mark.parametrize("length", [9, 64, 1025, LONG])
def test_programs_are_exact_at_every_length(program: Loaded, length: int) -> None:
    program.check(make_numbers(length))


def test_long_rows_are_normalised_exactly() -> None:
    Loaded(STATIC, LONG, None).check(make_numbers(LONG))


REDUCTIONS = ("sum", "mean", "prod", "logsumexp", "std", "var")
SHAPES = (
    ((ROW,), None),
    ((3, ROW), -1),
    ((ROW, 3), 0),
    ((2, ROW, 3), (1, 2)),
    ((5, 7, 11, 13, 3), (0, 2, 3, 4)),
    ((5, 7, 11, 13, 3), None),
    ((64, 64), (0, 1)),
    ((31, 2, 40), (0, -1)),
)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_python_reduces_as_the_runtime_does(
    name: str, shape: tuple[int, ...], axis: Any, keepdims: bool
) -> None:
    x = make_numbers(*shape) / 5
    dims = tuple(range(len(shape))) if axis is None else axis
    more = {"correction": 0} if name in ("std", "var") else {}
    if name == "prod":
        expected = x.double().log().sum(dims, keepdims).exp()
    else:
        expected = getattr(torch, name)(x.double(), dims, keepdim=keepdims, **more)
    values = list(functions.bind(name, (to_mlx(x), axis, keepdims), {}).values())
    actual = to_torch(functions.call(name, values))
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-7)
