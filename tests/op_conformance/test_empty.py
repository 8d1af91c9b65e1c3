"""Programs of a dynamic dimension whose range holds 0: right at 0, or not delegated."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch.nn import functional

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner

W = torch.linspace(-1, 1, 28).view(4, 7)

# Functions of `x`, (n, 7).
CALLS: dict[str, Callable[[torch.Tensor], Any]] = {
    **{
        f"{name}({axis})": lambda x, n=name, a=axis: getattr(x, n)(a)
        for name in (
            "argmax",
            "argmin",
            "amax",
            "amin",
            "sum",
            "mean",
            "prod",
            "all",
            "any",
            "var",
            "std",
            "logsumexp",
            "softmax",
            "log_softmax",
            "cumsum",
            "cumprod",
            "sort",
            "argsort",
            "median",
            "logcumsumexp",
            "count_nonzero",
            "nansum",
        )
        for axis in (1,)
    },
    **{
        f"{name}(0)": lambda x, n=name: getattr(x, n)(0)
        for name in (
            "sum",
            "mean",
            "prod",
            "all",
            "any",
            "logsumexp",
            "softmax",
            "cumsum",
            "std",
            "cumprod",
            "sort",
            "count_nonzero",
            "flip",
        )
    },
    **{f"{name}()": lambda x, n=name: getattr(x, n)() for name in ("sum", "mean", "prod", "any")},
    "max(1)": lambda x: x.max(1).values,
    "min(1)": lambda x: x.min(1).indices,
    "cummax(1)": lambda x: x.cummax(1).values,
    "cummax(0)": lambda x: x.cummax(0).values,
    "one_hot": lambda x: functional.one_hot(x.argmax(1), 7),
    "topk": lambda x: x.topk(2, 1).values,
    "kthvalue": lambda x: x.kthvalue(2, 1).values,
    "norm": lambda x: x.norm(dim=1),
    "norm of all": lambda x: x.norm(),
    "normalize": lambda x: functional.normalize(x, dim=1),
    "layer_norm": lambda x: functional.layer_norm(x, (7,)),
    "rms_norm": lambda x: functional.rms_norm(x, (7,)),
    "linear": lambda x: functional.linear(x, W),
    "matmul": lambda x: x.T @ x,
    "outer product": lambda x: x @ x.T,
    "addmm": lambda x: torch.addmm(torch.ones(4), x, W.T),
    "bmm": lambda x: x[:, None] @ x[:, :, None],
    "attention": lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None]),
    "conv1d": lambda x: functional.conv1d(x[:, None], W[:, None, :3]),
    "conv_transpose1d": lambda x: functional.conv_transpose1d(x[:, None], W[None, :, :3]),
    "max_pool1d": lambda x: functional.max_pool1d(x[:, None], 2),
    "max_pool2d": lambda x: functional.max_pool2d(x[:, None, None].expand(-1, 1, 3, -1), 2),
    "avg_pool1d": lambda x: functional.avg_pool1d(x[:, None], 2),
    "adaptive_avg_pool1d": lambda x: functional.adaptive_avg_pool1d(x[:, None], 3),
    "interpolate": lambda x: functional.interpolate(x[:, None], scale_factor=2),
    "linear interpolate": lambda x: functional.interpolate(
        x[:, None], scale_factor=2, mode="linear"
    ),
    "embedding": lambda x: functional.embedding(x.argmax(1), W.T),
    "gather": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "scatter": lambda x: x.scatter(1, x.argmax(1, keepdim=True), 0.5),
    "scatter_add": lambda x: x.scatter_add(1, x.argmax(1, keepdim=True), x),
    "index_add": lambda x: torch.zeros(7, 7).index_add(0, x.argmax(1), x),
    "index_select": lambda x: W.T.index_select(0, x.argmax(1)),
    "index": lambda x: W.T[x.argmax(1)],
    "index_put": lambda x: torch.zeros(7, 7).index_put((x.argmax(1),), x),
    "put of one column": lambda x: x.index_fill(1, torch.tensor([1, 2]), 3.0),
    "searchsorted": lambda x: torch.searchsorted(W[0], x),
    "bucketize": lambda x: torch.bucketize(x, W[0]),
    "isin": lambda x: torch.isin(x, W[0]),
    "cat": lambda x: torch.cat([x, x, W]),
    "stack": lambda x: torch.stack([x, x]),
    "pad": lambda x: functional.pad(x, (1, 2)),
    "roll": lambda x: x.roll(1, 0),
    "repeat": lambda x: x.repeat(2, 2),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "tril": lambda x: x.tril(),
    "where": lambda x: torch.where(x > 0, x, -x),
    "elementwise": lambda x: (x * 2 + 1).exp().sigmoid(),
    "gelu": lambda x: functional.gelu(x),
    "unfold": lambda x: x.unfold(1, 3, 2) * 1,
    "cdist": lambda x: torch.cdist(x, W),
    "histc": lambda x: x.histc(4, -1, 1),
    "mse_loss": lambda x: functional.mse_loss(x, x * 2),
    "cross_entropy": lambda x: functional.cross_entropy(x, x.argmax(1)),
    "glu": lambda x: functional.glu(x[:, :6]),
    "diff": lambda x: x.diff(dim=1),
    "group_norm": lambda x: functional.group_norm(x.reshape(-1, 7, 1).repeat(1, 1, 2), 7),
    "batch_norm": lambda x: functional.batch_norm(x, torch.zeros(7), torch.ones(7)),
    "pixel_shuffle": lambda x: functional.pixel_shuffle(x[:, :4, None, None], 2),
    "einsum": lambda x: torch.einsum("nk,mk->nm", x, W),
    "mode": lambda x: x.mode(1).values,
    "trace": lambda x: (x.T @ x).trace(),
}


class Calls(torch.nn.Module):
    """Functions of one tensor."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = names

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        results = [CALLS[name](x) for name in self._names]
        return [result[0] if isinstance(result, tuple) else result for result in results]


def run(names: list[str], rows: tuple[int, ...]) -> list[str]:
    """The functions that differ from eager torch at some number of rows."""
    module = Calls(names).eval()
    sizes = ({0: torch.export.Dim("rows", min=0, max=8)},)
    program = torch.export.export(module, (torch.randn(3, 7),), dynamic_shapes=sizes)
    edge = to_edge_transform_and_lower(program, partitioner=[MLXPartitioner(min_partition_size=0)])
    mlx_coverage.runtime.load()
    loaded = Runtime.get().load_program(edge.to_executorch().buffer)
    method = loaded.load_method("forward")
    wrong = []
    for count in rows:
        x = torch.randn(count, 7, generator=torch.Generator().manual_seed(count))
        for name, actual, expected in zip(names, method.execute([x]), module(x), strict=True):
            try:
                torch.testing.assert_close(actual, expected, equal_nan=True)
            except AssertionError as error:
                wrong.append(f"{name} of {count} rows: {error}")
    return wrong


def test_no_rows_give_what_torch_gives() -> None:
    assert run(list(CALLS), (3, 0, 1, 8)) == []


@pytest.mark.parametrize("name", ["argmax", "amax", "min"])
def test_extremes_of_nothing_fail(name: str) -> None:
    with pytest.raises(RuntimeError):
        run_extreme(name)


def run_extreme(name: str) -> None:
    """Run a reduction over the rows, of which there are none."""
    CALLS["extreme"] = lambda x: getattr(x, name)(0)
    run(["extreme"], (0,))
