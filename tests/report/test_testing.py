"""The helper for users' own tests."""

import dataclasses

import pytest
import torch

from mlx_coverage.testing import assert_delegated, check_module
from tests.report.samples import make_failure, make_report


class HalfSupported(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cos(x) + torch.tanh(x.double()).float()


def test_module_is_checked_and_the_message_leads_to_the_line() -> None:
    report = check_module(HalfSupported(), (torch.ones(3),))
    assert (report.nodes, report.delegated) == (5, 2)
    assert_delegated(report, min=40)
    assert_delegated(report, allow=["op/dtype"])
    with pytest.raises(AssertionError, match=r"40\.0 % on MLX \(2 of 5 nodes\)") as failed:
        assert_delegated(report, min=40.1)
    line = HalfSupported.forward.__code__.co_firstlineno + 1
    assert f"test_testing.py:{line}: op/dtype" in str(failed.value)


def test_threshold_is_exact_and_allowed_nodes_are_left_out() -> None:
    report = make_report()
    assert_delegated(report, min=75 / 99 * 100)
    with pytest.raises(AssertionError, match="expected at least 76 %"):
        assert_delegated(report, min=76)
    assert_delegated(report, allow=["aten.plain.default"])
    with pytest.raises(AssertionError):
        assert_delegated(report, allow=["aten.other.default"])


def test_what_did_not_lower_is_not_delegated() -> None:
    with pytest.raises(AssertionError, match="export failed: Could not guard"):
        assert_delegated(make_failure(), min=0)
    with pytest.raises(AssertionError, match="n/a"):
        assert_delegated(dataclasses.replace(make_report(), methods=()), min=0)


@pytest.mark.parametrize("share", [-1, 101, float("nan")])
def test_impossible_threshold(share: float) -> None:
    with pytest.raises(ValueError, match="accepted: a percentage"):
        assert_delegated(make_report(), min=share)
