"""`nn.EmbeddingBag` in every mode."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.closeness import assert_close
from tests.e2e.lowering import lower, run_eagerly

INDICES = torch.tensor([1, 2, 4, 5, 4, 3, 2, 9])
WEIGHTS = torch.tensor([0.5, -1, 2, 3, 0.25, 1, -2, 4])


class Bags(nn.Module):
    """Several bags with the same indices and offsets, weighted where that is possible."""

    def __init__(self, last: bool, padding: int | None) -> None:
        super().__init__()
        options: Any = {"include_last_offset": last, "padding_idx": padding}
        modes = ("sum", "mean", "max")
        self.bags = nn.ModuleList(nn.EmbeddingBag(10, 3, mode=mode, **options) for mode in modes)

    def forward(self, indices: Tensor, offsets: Tensor, weights: Tensor) -> list[Tensor]:
        weighted = self.bags[0](indices, offsets, per_sample_weights=weights)
        return [weighted, *(bag(indices, offsets) for bag in self.bags)]


@pytest.mark.parametrize(("last", "padding"), list(product((False, True), (None, 4))))
def test_every_mode(last: bool, padding: int | None) -> None:
    torch.manual_seed(0)
    model = Bags(last, padding).eval()
    inputs = (INDICES, torch.tensor([0, 4, 4, 8] if last else [0, 4]), WEIGHTS)
    lowered = lower(model, *inputs)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(*inputs), run_eagerly(model, *inputs))
    if last:  # what lies beyond the last offset
        inputs = (INDICES, torch.tensor([0, 4, 4, 6]), WEIGHTS)
        assert_close(lowered.start()(*inputs), run_eagerly(model, *inputs))


class Rows(nn.Module):
    """One bag a row."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(10, 3, mode="sum")

    def forward(self, indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        return self.bag(indices), self.bag(indices, None, per_sample_weights=weights)


def test_rows() -> None:
    torch.manual_seed(0)
    model, inputs = Rows().eval(), (INDICES.reshape(2, 4), WEIGHTS.reshape(2, 4))
    lowered = lower(model, *inputs)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(*inputs), run_eagerly(model, *inputs))


class Bag(nn.Module):
    """Either overload that `embedding_bag` makes."""

    def __init__(self, op: Any) -> None:
        super().__init__()
        self.op = op

    def forward(self, weight: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
        return self.op(weight, indices, offsets)[0]


BAGS = (
    torch.ops.aten._embedding_bag.default,
    torch.ops.aten._embedding_bag_forward_only.default,
)


@pytest.mark.parametrize("op", BAGS, ids=str)
def test_either_overload(op: Any) -> None:
    inputs = (torch.randn(10, 3), INDICES, torch.tensor([0, 4]))
    lowered = lower(Bag(op), *inputs)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(*inputs), run_eagerly(Bag(op), *inputs))


@pytest.mark.parametrize("op", BAGS, ids=str)
def test_what_is_declined_falls_back_under_its_own_name(op: Any) -> None:
    inputs = (torch.randn(10, 3, dtype=torch.float64), INDICES, torch.tensor([0, 4]))
    lowered = lower(Bag(op), *inputs)
    assert lowered.fallbacks() == ["aten._embedding_bag.default"]
    lowered.edge.to_executorch()
