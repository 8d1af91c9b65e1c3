"""Dtypes that are refused, and what is said to help."""

from typing import Any

import pytest
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import Call
from mlx_coverage.registry.judge import Unsupported, judge

aten = torch.ops.aten


def refuse(op: Any, *arguments: Any) -> Unsupported:
    verdict = judge(Call.from_values(op, arguments, {}, op(*arguments)), default_registry())
    assert isinstance(verdict, Unsupported)
    return verdict


def test_complex_operand_is_not_to_be_cast() -> None:
    primary = refuse(aten.acos.default, torch.ones(2, dtype=torch.complex64)).primary
    assert (primary.slug, primary.argument) == ("op/dtype", "self")
    assert "imaginary" in primary.remedy
    assert "Cast" not in primary.remedy


def test_wide_operands_are_to_be_narrowed() -> None:
    for dtype, said in ((torch.float64, "Compute in float32"), (torch.complex128, "Cast")):
        assert said in refuse(aten.sin.default, torch.ones(2, dtype=dtype)).primary.remedy


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_result_of_a_dtype_that_mlx_lacks_is_refused() -> None:
    primary = refuse(aten.mul.Tensor, torch.ones(2, dtype=torch.float16), 1j).primary
    assert (primary.slug, "complex32" in primary.text) == ("op/dtype", True)


@pytest.mark.parametrize(
    ("op", "other"),
    [
        (aten.eq.Scalar, 1j),
        (aten.ne.Scalar, 1j),
        (aten.eq.Tensor, torch.tensor(1j)),
        (aten.ne.Tensor, torch.tensor(1j)),
    ],
)
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_operands_that_promote_to_a_dtype_that_mlx_lacks_are_refused(op: Any, other: Any) -> None:
    primary = refuse(op, torch.ones(2, dtype=torch.float16), other).primary
    assert (primary.slug, "complex32" in primary.text) == ("op/dtype", True)
