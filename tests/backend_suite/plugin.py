"""A pytest plugin that gives the suite's tests their `test_runner` and tabulates the results.

The suite's own conftest parametrises over the flows that ship with ExecuTorch and has no
place for another one; this fixture calls the same `run_test` with ours.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.backends.test.suite.reporting import (
    TestCaseSummary,
    TestResult,
    begin_test_session,
    complete_test_session,
)
from executorch.backends.test.suite.runner import run_test

from tests.backend_suite.flow import MLXCoverageTester, make_flow
from tests.backend_suite.table import Result, render

RESULT = "backend-suite"
WHOLE = Path("build/backend_suite.md")
SEED = 0
# The suite's own tolerances.
ABSOLUTE, RELATIVE = 1e-1, 4e-2


class Runner:
    """What the suite's tests call: lowers, runs and compares one model at a time."""

    def __init__(self, name: str, base_name: str) -> None:
        self._name, self._base_name = name, base_name
        self._testers: list[MLXCoverageTester] = []
        self._flow = make_flow(self._testers)  # the operator tests read it by this name
        self.results: list[Result] = []

    def lower_and_run_model(
        self,
        model: torch.nn.Module,
        inputs: Any,
        generate_random_test_inputs: bool = True,
        dynamic_shapes: Any = None,
    ) -> None:
        """Run one model; fails the test where the delegate fails, skips it where torch does."""
        summary = run_test(
            model,
            inputs,
            self._flow,
            self._name,
            self._base_name,
            len(self.results),
            None,
            dynamic_shapes=dynamic_shapes,
            generate_random_test_inputs=generate_random_test_inputs,
        )
        delegated = sum((summary.delegated_op_counts or {}).values())
        if (
            summary.result is TestResult.SKIPPED
            and summary.error is None
            and delegated
            and not summary.undelegated_op_counts
        ):
            # The suite skips 3-d convolutions for the portable kernels' sake, even where
            # no kernel is needed; what is left of `run_test` runs here.
            summary.result = TestResult.SUCCESS
            self._run_delegated(summary, None if generate_random_test_inputs else inputs)
        reasons = self._testers[-1].list_reasons() if self._testers else []
        error = "" if summary.error is None else str(summary.error).strip().partition("\n")[0]
        unwritable = self._testers[-1].find_unwritable() if self._testers else None
        if unwritable is not None and summary.result.is_backend_failure():
            self.results.append(Result("NOT_WRITABLE", message=unwritable))
            pytest.skip(unwritable)
        errors = [statistics.error_max or 0.0 for statistics in summary.tensor_error_statistics]
        self.results.append(
            Result(
                outcome=summary.result.name,
                delegated=delegated,
                fallback=dict(summary.undelegated_op_counts or {}),
                reasons=sorted({reason.slug for reason in reasons}),
                largest_error=max(errors, default=0.0),
                message=(error or "; ".join(dict.fromkeys(r.text for r in reasons)))[:200],
            )
        )
        if summary.result.is_backend_failure():
            raise AssertionError(summary.result.display_name()) from summary.error
        if not summary.result.is_success():
            pytest.skip(f"{summary.result.display_name()}: {error or 'no portable kernel'}")

    def _run_delegated(self, summary: TestCaseSummary, inputs: Any) -> None:
        tester = self._testers[-1]
        try:
            tester.to_executorch()
            tester.serialize()
            tester.run_method_and_compare_outputs(
                inputs=inputs,
                statistics_callback=summary.tensor_error_statistics.append,
                atol=ABSOLUTE,
                rtol=RELATIVE,
            )
        except AssertionError as error:
            summary.result, summary.error = TestResult.OUTPUT_MISMATCH_FAIL, error
        except Exception as error:  # noqa: BLE001  (as the suite does)
            summary.result, summary.error = TestResult.PTE_RUN_FAIL, error


@pytest.fixture
def test_runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """The suite's tests take it by this name."""
    runner = Runner(request.node.name, request.node.originalname)
    yield runner
    for result in runner.results:
        request.node.user_properties.append((RESULT, asdict(result)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite-report", type=Path, help="write the result table to this file")
    parser.addoption("--suite-results", type=Path, help="keep the results in this JSON file")
    parser.addoption("--suite-continue", action="store_true", help="run what it does not hold")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an earlier run has measured."""
    if config.getoption("--suite-continue"):
        known = _read_results(config.getoption("--suite-results"))
        items[:] = [item for item in items if _name(item.nodeid) not in known]


def _name(nodeid: str) -> str:
    return nodeid.rpartition("suite/")[2]


def _read_results(path: Path | None) -> dict[str, list[Result]]:
    if path is None or not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: [Result(**result) for result in results] for name, results in found.items()}


class Recorder:
    """Keeps every result as it comes, so that a run that is cut short can be continued."""

    def __init__(self, report: Path, results: Path | None, known: dict[str, list[Result]]) -> None:
        self._report, self._results, self._rows = report, results, known

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test when it is over, and write down what there is."""
        name = _name(report.nodeid)
        found = [Result(**value) for key, value in report.user_properties if key == RESULT]
        if report.when == "teardown" and found:
            self._rows[name] = found
        elif report.when not in ("setup", "call", "teardown"):
            self._rows[name] = [Result("CRASH", message="the process ended")]
        elif report.when == "call":
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self._rows[name] = [Result("NOT_RUN", message=str(why or "")[:200])]
        if self._results is not None and report.when != "setup":
            kept = {name: [asdict(r) for r in results] for name, results in self._rows.items()}
            self._results.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def pytest_terminal_summary(self) -> None:
        """Write the table."""
        self._report.write_text(render(self._rows, whole=False), encoding="utf-8")
        WHOLE.parent.mkdir(exist_ok=True)
        WHOLE.write_text(render(self._rows), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    begin_test_session(None, seed=SEED)
    config.add_cleanup(complete_test_session)
    report, results = config.getoption("--suite-report"), config.getoption("--suite-results")
    # Workers of xdist send their reports to the process that records.
    if report is not None and not hasattr(config, "workerinput"):
        known = _read_results(results) if config.getoption("--suite-continue") else {}
        config.pluginmanager.register(Recorder(report, results, known))
