"""Calls that ExecuTorch's backend suite, torch's samples and hostile readers found to differ."""

from typing import Any

import pytest
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.mx import mx
from tests.op_conformance.arrays import to_mlx, to_torch
from tests.op_conformance.cases import Case
from tests.op_conformance.checks import check_inside, run_mlx


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
@pytest.mark.parametrize(
    ("shape", "index"),
    [((), 0), ((), [0, 0, 0]), ((), []), ((4,), 3), ((1,), 0), ((4,), [3, 0, 3, 1, 2])],
)
def test_gather_takes_tensors_without_dimensions(
    dtype: torch.dtype, shape: tuple[int, ...], index: Any
) -> None:
    arguments = {
        "self": torch.testing.make_tensor(shape, dtype=dtype, device="cpu"),
        "dim": -1,
        "index": torch.tensor(index, dtype=torch.int64),
    }
    check_inside(Case(default_registry().by_name["aten.gather.default"], arguments))


def test_groups_of_equal_sizes_are_multiplied() -> None:
    generator = torch.Generator().manual_seed(0)
    arguments = {
        "self": torch.randn(3, 5, 16, generator=generator).bfloat16(),
        "mat2": torch.randn(3, 16, 8, generator=generator).bfloat16(),
    }
    check_inside(Case(default_registry().by_name["aten._grouped_mm.default"], arguments))


@pytest.mark.parametrize("inner", [1, 1024, 1025, 5001])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integers_are_multiplied_over_long_rows(dtype: torch.dtype, inner: int) -> None:
    generator = torch.Generator().manual_seed(0)
    limits = torch.iinfo(dtype)
    lowest = torch.full((2, 3, inner), limits.min, dtype=dtype)
    other = torch.randint(limits.min, limits.max, (2, inner, 4), dtype=dtype, generator=generator)
    for right in (other, torch.full_like(other, limits.min)):
        check_inside(
            Case(default_registry().by_name["aten.bmm.default"], {"self": lowest, "mat2": right})
        )
    if dtype == torch.int8:
        arguments = {"self": lowest[0], "mat2": torch.full_like(other[0], limits.min)}
        check_inside(Case(default_registry().by_name["aten._int_mm.default"], arguments))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("result", [torch.float16, torch.float32])
def test_integers_have_a_mean_in_another_dtype(dtype: torch.dtype, result: torch.dtype) -> None:
    entries = default_registry().by_name
    x = torch.testing.make_tensor((5, 7), dtype=dtype, device="cpu", low=0, high=9)
    check_inside(Case(entries["aten.mean.default"], {"self": x, "dtype": result}))
    check_inside(Case(entries["aten.mean.dim"], {"self": x, "dim": [1], "dtype": result}))


LARGE = [2.0**24, 2.0**53, -(2.0**60), 2.0**127, 1.5 * 2.0**40, 2.0**23, -3.0, 0.0]
HALVES = [(torch.float16, v) for v in (2048.0, 4096.0, -4096.0, 3074.0, 1.0)] + [
    (torch.bfloat16, v) for v in (256.0, 512.0, 130.0)
]


@pytest.mark.parametrize(("dtype", "value"), [(torch.float32, v) for v in LARGE] + HALVES)
def test_equal_elements_fall_into_torchs_bin(dtype: torch.dtype, value: float) -> None:
    for bins in (1, 6, 7, 100):
        arguments = {"self": torch.full((5,), value, dtype=dtype), "bins": bins}
        case = Case(default_registry().by_name["aten.histc.default"], arguments)
        expected = case.run_torch()
        # Counts are whole numbers: a near one is wrong.
        torch.testing.assert_close(run_mlx(case, expected), expected, rtol=0, atol=0)


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


def test_reduction_of_a_view_whose_axes_share_a_stride() -> None:
    generator = torch.Generator().manual_seed(0)
    x, size, stride = torch.randn(64, generator=generator), (3, 4, 4, 4), (1, 3, 3, 1)
    entry = default_registry().by_name["aten.as_strided.default"]
    view = entry.implementation(to_mlx(x), size, stride)
    torch.testing.assert_close(to_torch(mx.max(view, 1)), x.as_strided(size, stride).amax(1))
