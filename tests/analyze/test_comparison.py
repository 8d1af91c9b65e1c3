"""How far results are from torch's: every kind of value counts, rounding alone is explained."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage.analyze.capture import export_methods
from mlx_coverage.analyze.comparison import compare, find_tolerances, measure
from mlx_coverage.analyze.failures import DifferenceError
from mlx_coverage.analyze.load import Exportable

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "found",
    [
        [],
        [torch.tensor([1.0, 2.1])],
        [torch.tensor([1.0, NAN])],
        [torch.tensor([1.0, 2.0], dtype=torch.float64)],
        [torch.tensor([[1.0, 2.0]])],
        [2],
    ],
)
def test_comparison_notices(found: list[Any]) -> None:
    with pytest.raises(DifferenceError):
        compare("forward", found, [torch.tensor([1.0, 2.0])])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_imaginary_parts_count(dtype: torch.dtype) -> None:
    right = torch.fft.fft(torch.randn(2, 8, dtype=torch.float64)).to(dtype)
    assert measure(right.clone(), right) == 0.0
    for wrong in (right.conj(), right.real + 0j, right + 0.1j):
        with pytest.raises(DifferenceError, match="differs from eager torch by"):
            compare("forward", [wrong.to(dtype)], [right])


@pytest.mark.parametrize("wrong", [complex(NAN, 0), complex(0, NAN), complex(0, INFINITY)])
def test_special_parts_of_complex_numbers_are_placed(wrong: complex) -> None:
    right = torch.tensor([1 + 1j, complex(NAN, INFINITY)])
    assert compare("forward", [right.clone()], [right]) == 0.0
    with pytest.raises(DifferenceError, match="by inf"):
        compare("forward", [torch.tensor([wrong, complex(NAN, INFINITY)])], [right])


@pytest.mark.parametrize("base", [2**53, -(2**53), 2**63 - 2, -(2**63), 0])
def test_every_integer_counts(base: int) -> None:
    right = torch.tensor([base, 5, 2**62])
    assert compare("forward", [right.clone()], [right], 6e-2) == 0.0
    for step in (1, 2):
        wrong = right.clone()
        wrong[1] += step
        wrong[0] += 1
        with pytest.raises(DifferenceError, match="tolerance: 0"):
            compare("forward", [wrong], [right], 6e-2)


def test_widest_difference_of_integers_does_not_overflow() -> None:
    low, high = torch.tensor([-(2**63)]), torch.tensor([2**63 - 1])
    assert measure(low, high) == pytest.approx(2.0)


def test_comparison_knows_nan_and_infinity() -> None:
    values = [torch.tensor([NAN, INFINITY, -INFINITY, 1.0]), torch.ones(0), 3]
    assert compare("forward", values, values) == 0.0
    for moved in ([NAN, -INFINITY, INFINITY, 1.0], [INFINITY, NAN, -INFINITY, 1.0]):
        with pytest.raises(DifferenceError, match="by inf"):
            compare("forward", [torch.tensor(moved), torch.ones(0), 3], values)


class HalfInside(nn.Module):
    """One result is rounded to bfloat16 on the way, the other is not."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (x.bfloat16() * 3).float(), x.cos(), (x.bfloat16() > 0).float() + x.half().float()


class KeepsHalf(nn.Module):
    """What is rounded goes through a state to the result of another method."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.kept.copy_((x.half() * 3).float())
        return x


class Reads(nn.Module):
    def __init__(self, cell: KeepsHalf) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return self.cell.kept + x


def test_tolerance_is_that_of_the_lowest_precision_inside() -> None:
    x = torch.ones(3)
    programs = export_methods({"forward": Exportable(HalfInside(), (x,))})
    assert find_tolerances(programs) == {"forward": [6e-2, 1e-4, 6e-2]}
    cell = KeepsHalf()
    methods = {"write": Exportable(cell, (x,)), "read": Exportable(Reads(cell), (x,))}
    assert find_tolerances(export_methods(methods)) == {"write": [1e-2], "read": [1e-2]}
    plain = export_methods({"forward": Exportable(nn.Linear(3, 3), (x,))})
    assert find_tolerances(plain) == {"forward": [1e-4]}


def test_branches_count_as_inside() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            def rounded(x: Tensor) -> Tensor:
                return x.bfloat16().float()

            return torch.cond(x.sum() > 0, rounded, torch.cos, (x,))

    programs = export_methods({"forward": Exportable(Branch(), (torch.ones(3),))})
    assert find_tolerances(programs) == {"forward": [6e-2]}
