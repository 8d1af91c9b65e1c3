"""A pytest plugin that keeps what conformance measured: `make conformance`.

The file goes by entry and environment, so that a run of some entries, or on another
device, adds to what is there. The op page reads it, and takes a record for measured only
while the entry's fingerprint is the one that was measured.
"""

import json
import platform
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.dtypes import name_dtype
from mlx_coverage.registry.fingerprint import take_fingerprint
from tests.op_conformance.arrays import DEVICE

RECORD = "conformance"
CHECKS = {
    "test_implementation_gives_torchs_results": "inside",
    "test_lowered_program_gives_the_implementations_results": "lowered",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="merge the results into this JSON file")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note what the test is about, for the process that sees the reports."""
    check = CHECKS.get(getattr(item, "originalname", ""))
    if check is None or not isinstance(item, pytest.Function):
        return
    parameters = item.callspec.params
    pairs = (
        [(parameters["entry"].spec, parameters["entry"].dtype)]
        if check == "inside"
        else parameters["batch"]
    )
    about = [[spec.name, name_dtype(dtype) if dtype else "any"] for spec, dtype in pairs]
    item.user_properties.append((RECORD, [check, about]))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Merge, in the process that sees every report."""
    path = config.getoption("--record")
    if path is None:
        return
    measured: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for report in (r for reports in terminalreporter.stats.values() for r in reports):
        if getattr(report, "when", None) == "call":
            for check, name, dtype in _list_subjects(report):
                measured[name][check][dtype] = report.outcome
    merge(path, measured)


def _list_subjects(report: pytest.TestReport) -> Iterator[tuple[str, str, str]]:
    for key, value in report.user_properties:
        if key == RECORD:
            check, about = value
            # Of a failing batch nobody knows which entry failed: none of it counts.
            for name, dtype in about:
                yield check, name, dtype


def merge(path: Path, measured: dict[str, dict[str, dict[str, str]]]) -> None:
    """Put the results in place of those of the same entries, device and versions.

    Args:
        path: of the JSON file; made where there is none.
        measured: entry to check to dtype to the test's outcome.
    """
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    environment, entries = describe_environment(), default_registry().by_name
    for name, checks in measured.items():
        records = found.setdefault(name, {})
        old = records.get(environment, {})
        fingerprint = take_fingerprint(entries[name])
        record = old if old.get("fingerprint") == fingerprint else {}
        records[environment] = {
            **record,
            "fingerprint": fingerprint,
            **{
                check: dict(sorted({**record.get(check, {}), **outcomes}.items()))
                for check, outcomes in checks.items()
            },
            "examples": settings().max_examples,
        }
    known = {name: records for name, records in sorted(found.items()) if name in entries}
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def describe_environment() -> str:
    """Device and versions, as the op page shows them."""
    versions = ", ".join(
        f"{name} {version(package)}"
        for name, package in (("MLX", "mlx"), ("torch", "torch"), ("ExecuTorch", "executorch"))
    )
    return f"{DEVICE.upper()} ({platform.system()} {platform.machine()}), {versions}"
