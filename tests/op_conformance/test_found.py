"""Calls that ExecuTorch's backend suite and torch's samples found to differ."""

import pytest
import torch

from mlx_coverage.registry import default_registry
from tests.op_conformance.cases import Case
from tests.op_conformance.checks import check_inside


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [-1, 2])
def test_embedding_bag_ends_at_the_last_offset(mode: int, padding_idx: int) -> None:
    generator = torch.Generator().manual_seed(0)
    arguments = {
        "weight": torch.randn(10, 5, generator=generator),
        "indices": torch.tensor([1, 2, 4, 5, 4, 3, 2, 9]),
        "offsets": torch.tensor([0, 2, 4]),
        "mode": mode,
        "include_last_offset": True,
        "padding_idx": padding_idx,
    }
    check_inside(Case(default_registry().by_name["aten._embedding_bag.default"], arguments))
