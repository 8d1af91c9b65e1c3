"""A pytest plugin that prints, for each example model, what lowering it gave."""

from typing import Any

import pytest


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The lines that `test_models` recorded, below the tests."""
    lines = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in getattr(report, "user_properties", [])
        if name == "model"
    ]
    if lines:
        terminalreporter.section("models against eager torch")
        header = f"{'model':22}{'dtype':10}{'nodes':>9}{'del.':>5}   {'error':>8}   fallback"
        terminalreporter.write_line(header)
        for line in sorted(lines):
            terminalreporter.write_line(line)
