"""Calls that ExecuTorch's backend suite, torch's samples and hostile readers found to differ."""

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


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64])
@pytest.mark.parametrize("value", [1.5, -0.5, 2.0, 300])
def test_integers_are_searched_for_a_fraction(dtype: torch.dtype, value: float) -> None:
    places = torch.tensor([0, 1, 2, 3], dtype=dtype)
    entries = default_registry().by_name
    check_inside(
        Case(entries["aten.searchsorted.Scalar"], {"sorted_sequence": places, "self": value})
    )
    check_inside(Case(entries["aten.bucketize.Scalar"], {"self": value, "boundaries": places}))


@pytest.mark.parametrize("limits", [(0.0, 2.9), (3.1,), (2.1, -2.9, -1.0), (0, 3, 1.5)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
def test_ranges_between_fractions(limits: tuple[float, ...], dtype: torch.dtype) -> None:
    start, end, step = {1: (0, *limits, 1), 2: (*limits, 1), 3: limits}[len(limits)]
    arguments = {"start": start, "end": end, "step": step, "dtype": dtype}
    check_inside(Case(default_registry().by_name["aten.arange.start_step"], arguments))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_floor_of_a_quotient_halfway_between_integers(dtype: torch.dtype) -> None:
    pairs = [(6.4375, 0.006378173828125), (5.09375, 0.048095703125), (4.8125, -0.039306640625)]
    dividend, divisor = torch.tensor(pairs, dtype=dtype).unbind(1)
    arguments = {"self": dividend, "other": divisor, "rounding_mode": "floor"}
    check_inside(Case(default_registry().by_name["aten.div.Tensor_mode"], arguments))
