"""Versions that were not tested: a sentence before the command's own words, and no traceback."""

import pytest

from mlx_coverage import cli
from mlx_coverage.cli import exits, explain
from mlx_coverage.runtime import versions


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = {"torch": "2.13.0+cpu", "executorch": "1.5.1", "mlx": "0.32.4"}
    needed = ["torch<2.16,>=2.13", "executorch<1.6,>=1.5", "mlx<0.33,>=0.32.4", "jinja2>=3.1"]
    monkeypatch.setattr(versions, "requires", {"mlx-coverage": needed}.__getitem__)
    monkeypatch.setattr(versions, "version", found.__getitem__)
    return found


def test_tested_versions_are_not_mentioned(
    installed: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "op/dtype"]) == exits.PASSED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("torch", "2.16.0.dev20261101"),
        ("torch", "2.9.1"),
        ("mlx", "0.33.0"),
        ("executorch", "1.6.0"),
    ],
)
def test_untested_version_is_named(
    installed: dict[str, str], capsys: pytest.CaptureFixture[str], package: str, version: str
) -> None:
    installed[package] = version
    assert cli.main(["explain", "op/dtype"]) == exits.PASSED
    (line,) = capsys.readouterr().err.splitlines()
    assert f"not tested with this version of mlx-coverage: {package} {version} (" in line


def test_name_that_a_version_lacks_is_no_defect_of_ours(
    installed: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(args: object) -> int:
        raise ImportError("cannot import name 'x' from 'executorch.exir'")

    monkeypatch.setattr(explain, "run", run)
    assert cli.main(["explain", "op/dtype"]) == exits.DEFECT
    installed["executorch"] = "1.7.0"
    assert cli.main(["explain", "op/dtype"]) == exits.UNUSABLE_INPUT
    assert "install a tested release" in capsys.readouterr().err
