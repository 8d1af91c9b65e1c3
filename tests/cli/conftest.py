"""What a busy machine says of slow stages is no part of what is tested."""

import pytest

from mlx_coverage.cli import console


@pytest.fixture(autouse=True)
def without_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "FIRST", 1e6)
