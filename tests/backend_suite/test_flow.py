"""The backend suite's flow and table: what counts as delegated, and what is said of the rest."""

import pytest
import torch
from executorch.backends.test.suite.reporting import TestResult
from executorch.backends.test.suite.runner import run_test

from tests.backend_suite.flow import MLXCoverageTester, make_flow
from tests.backend_suite.plugin import Runner
from tests.backend_suite.table import MEANINGS, Result, render


class Add(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def test_a_supported_op_passes_delegated() -> None:
    testers: list[MLXCoverageTester] = []
    inputs = (torch.randn(2, 3), torch.randn(3))
    summary = run_test(Add(), inputs, make_flow(testers), "add", "add", 0, None)
    assert summary.result is TestResult.SUCCESS
    assert summary.is_delegated()
    assert testers[0].list_reasons() == []


def test_a_refused_op_passes_without_and_says_why() -> None:
    testers: list[MLXCoverageTester] = []
    inputs = (torch.randn(2, 3).double(), torch.randn(3).double())
    summary = run_test(Add(), inputs, make_flow(testers), "add", "add", 0, None)
    assert summary.result is TestResult.SUCCESS_UNDELEGATED
    assert [reason.slug for reason in testers[0].list_reasons()] == ["op/dtype"]


class Median(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.median(x, 0)  # a named tuple


def test_what_executorch_cannot_write_is_told_apart() -> None:
    runner = Runner("median", "median")
    with pytest.raises(pytest.skip.Exception, match=r"named tuples \(median\)"):
        runner.lower_and_run_model(Median(), (torch.randn(3, 2),))
    assert [result.kind for result in runner.results] == ["not written"]


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (Result("SUCCESS", 1), "delegated"),
        (Result("SUCCESS", 1, {"aten::sin": 1}), "in part"),
        (Result("SUCCESS_UNDELEGATED", 0, {"aten::sin": 1}), "undelegated"),
        (Result("SKIPPED", 0, {"aten::sin": 1}), "refused"),
        (Result("SKIPPED"), "not exported"),
        (Result("NOT_RUN"), "not run"),
        (Result("NOT_WRITABLE"), "not written"),
        (Result("LOWER_FAIL"), "failed"),
        (Result("CRASH"), "failed"),
    ],
)
def test_outcomes_fall_into_kinds(result: Result, kind: str) -> None:
    assert result.kind == kind
    assert kind in MEANINGS


def test_the_table_counts_and_explains() -> None:
    rows = {
        "operators/test_sin.py::test_sin": [
            Result("SUCCESS", 2),
            Result("SUCCESS_UNDELEGATED", 0, {"aten::sin": 1}, ["op/dtype"], message="a double"),
        ],
        "operators/test_cos.py::test_cos": [Result("LOWER_FAIL", message="a | b")],
    }
    page = render(rows)
    assert "| delegated | 1 |" in page
    assert "| undelegated | 0 | 0.0e+00 | `aten::sin` x1: `op/dtype`: a double |" in page
    assert "a \\| b" in page
