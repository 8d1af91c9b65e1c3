"""The suite runs under its own Hypothesis profile, whatever its imports load."""

import importlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.conftest import PROFILE
from tests.op_conformance import operator_samples


def test_profile_is_ours() -> None:
    assert operator_samples.OPS  # torch's module, which loads a profile, is imported
    assert settings.get_current_profile_name() == PROFILE
    assert HealthCheck.filter_too_much in settings().suppress_health_check


def test_cases_do_not_depend_on_what_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw() -> list[int]:
        drawn: list[int] = []

        @seed(1)
        @settings(max_examples=200)
        @given(st.integers())
        def collect(value: int) -> None:
            drawn.append(value)

        collect()
        return drawn

    before = draw()
    (tmp_path / "imported_later.py").write_text(f"NUMBERS = {list(range(10**6, 10**6 + 99))}")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("imported_later")
    assert draw() == before
