"""Halves beside one number: computed with the number as it is, not as a half."""

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner


class Scaled(torch.nn.Module):
    """Products and quotients by numbers and tensors that overflow a half."""

    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(1e5))

    def forward(self, x: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, ...]:
        quotients = x / 1e5, 1e5 / x, x / count, torch.div(x, 1e5, rounding_mode="trunc")
        return (x * 1e5, 3e5 * x, x * self.scale, x * count, *quotients)


def test_numbers_beside_halves_are_not_rounded() -> None:
    model = Scaled().eval()
    x = torch.tensor([0.35, 0.5, 0.0625, -0.2, torch.inf]).half()
    count = torch.tensor(100_000)
    program = torch.export.export(model, (x, count))
    partitioner = MLXPartitioner(min_partition_size=0)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    (plan,) = partitioner.plans
    assert plan.delegated == len(plan.placements)
    mlx_coverage.runtime.load()
    loaded = Runtime.get().load_program(edge.to_executorch().buffer)
    results = loaded.load_method("forward").execute([x, count])
    for actual, expected in zip(results, model(x, count), strict=True):
        torch.testing.assert_close(actual, expected)
