"""The numeric criterion: what it accepts and what it refuses."""

import math
from typing import Any

import pytest
import torch

from mlx_coverage.registry import default_registry
from tests.op_conformance.cases import Case
from tests.op_conformance.criterion import MismatchError, compare

inf, nan = math.inf, math.nan


def run(name: str, actual: Any, **arguments: Any) -> None:
    case = Case(default_registry().by_name[name], arguments)
    compare(case, actual, case.run_torch())


def next_to(tensor: torch.Tensor, steps: int) -> torch.Tensor:
    for _ in range(steps):
        tensor = torch.nextafter(tensor, torch.full_like(tensor, inf))
    return tensor


REFUSED = {
    "dtype": (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64)),
    "shape": (torch.tensor([1.0]), torch.tensor([[1.0]])),
    "NaN at": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, nan])),
    "nan, torch gives": (torch.tensor([nan]), torch.tensor([1.0])),
    "inf": (torch.tensor([inf]), torch.tensor([-inf])),
    "3.4": (torch.tensor([1e38]), torch.tensor([3.4e38])),
    "1.001": (torch.tensor([1.0]), torch.tensor([1.001])),
    "sign of zero": (torch.tensor([0.0]), torch.tensor([-0.0])),
    "2 at|value": (torch.tensor([1]), torch.tensor([2])),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_results_are_refused(what: str) -> None:
    expected, actual = REFUSED[what]
    with pytest.raises(MismatchError):
        run("aten.abs.default" if expected.isfinite().all() else "aten.mul.Scalar", actual,
            self=expected, **({} if expected.isfinite().all() else {"other": 1}))  # fmt: skip


def test_an_ulp_is_accepted() -> None:
    operand = torch.tensor([0.5, 3.0, -7.0])
    run("aten.exp.default", next_to(torch.exp(operand), 2), self=operand)


def test_largest_number_and_infinity_are_neighbours() -> None:
    operand = torch.tensor([65504.0], dtype=torch.float16)
    run("aten.mul.Scalar", torch.tensor([inf], dtype=torch.float16), self=operand, other=1)
    with pytest.raises(MismatchError):
        run("aten.mul.Scalar", torch.tensor([inf], dtype=torch.float16), self=operand, other=0.9)


def test_a_sum_may_round_as_its_inputs_do() -> None:
    operand = torch.tensor([1e8, 1.0, -1e8, 3.0])
    for other in (0.0, 4.0, 8.0):  # each is the sum in some order
        run("aten.sum.dim_IntList", torch.tensor(other), self=operand, dim=[0])
    with pytest.raises(MismatchError):
        run("aten.sum.dim_IntList", torch.tensor(400.0), self=operand, dim=[0])


def test_a_jump_excuses_nothing() -> None:
    with pytest.raises(MismatchError):
        run("aten.floor.default", torch.tensor([1.0]), self=torch.tensor([2.0]))


def test_results_below_the_normal_numbers_may_be_zero() -> None:
    operand = torch.tensor([-100.0])
    run("aten.exp.default", torch.tensor([0.0]), self=operand)
    half = torch.tensor([-12.0], dtype=torch.float16)
    with pytest.raises(MismatchError):
        run("aten.exp.default", torch.tensor([0.0], dtype=torch.float16), self=half)


def test_views_keep_every_bit() -> None:
    operand = torch.tensor([1.0, 2.0])
    with pytest.raises(MismatchError):
        run("aten.view.default", next_to(operand, 1), self=operand, size=[2])


def test_minimum_of_two_zeros_is_either() -> None:
    zeros = {"self": torch.tensor([0.0]), "other": torch.tensor([-0.0])}
    for zero in (0.0, -0.0):
        run("aten.minimum.default", torch.tensor([zero]), **zeros)


def test_ties_may_come_in_any_order() -> None:
    operand = torch.tensor([3.0, 3.0, 1.0])
    for index in (0, 1):
        pair = torch.tensor([3.0]), torch.tensor([index])
        run("aten.topk.default", pair, self=operand, k=1)
    with pytest.raises(MismatchError):
        run("aten.topk.default", (torch.tensor([3.0]), torch.tensor([2])), self=operand, k=1)
    twice = torch.tensor([3.0, 3.0]), torch.tensor([1, 1])
    with pytest.raises(MismatchError):
        run("aten.topk.default", twice, self=operand, k=2)
