"""`mlx-coverage sweep`: crashes, hangs, resumption, the table, and a Dask cluster."""

import csv
import io
import shutil
from pathlib import Path

import pytest

from mlx_coverage.analyze.model import from_json
from mlx_coverage.cli import exits, main
from tests.cli import models

CRASHING = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
LIST = """
[models]
mixed = "mixed.py"
crashing = "crashing.py"
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a list of models and, below it, of what a sweep of them wrote."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "mixed.py").write_text(models.MIXED)
    (folder / "crashing.py").write_text(CRASHING)
    (folder / "models.toml").write_text(LIST)
    code = main(["sweep", str(folder / "models.toml"), "-o", str(folder / "reports")])
    assert code == exits.MODEL_FAILED
    return folder


def read_table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "reports" / "sweep.csv").read_text())))


def test_a_crash_costs_one_model(swept: Path) -> None:
    assert from_json((swept / "reports" / "mixed.json").read_text()).nodes == 8
    assert not (swept / "reports" / "crashing.json").exists()
    page = (swept / "reports" / "sweep.md").read_text()
    assert "| `mixed` | 8 | 25.0 % (2) | 2 | checked |" in page
    assert "the process died of SIGKILL" in page
    assert "1 of 2 models checked" in page


def test_table_ranks_what_gates_models(swept: Path) -> None:
    rows = read_table(swept)
    assert {"op", "reason", "models", "nodes", "mixed"} == set(rows[0])
    double = next(row for row in rows if row["op"] == "aten._to_copy.default")
    assert (double["reason"], double["models"], double["nodes"], double["mixed"]) == (
        "op/dtype", "1", "6", "6",
    )  # fmt: skip
    assert sum(int(row["nodes"]) for row in rows) == 6


def test_known_outcomes_are_not_checked_again(
    swept: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a model that is known was checked again")

    monkeypatch.setattr("mlx_coverage.analyze.sweep.check", refuse)
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    before = (swept / "reports" / "sweep.csv").read_text()
    arguments = ["sweep", str(tmp_path / "models.toml"), "-o", str(tmp_path / "reports")]
    assert main(arguments) == exits.MODEL_FAILED
    assert "2 of 2 models are known from before" in capsys.readouterr().err
    assert (tmp_path / "reports" / "sweep.csv").read_text() == before
    # What crashed is tried again on request, and what changed without one.
    assert main([*arguments, "--retry"]) == exits.MODEL_FAILED
    assert "1 of 2 models are known from before" in capsys.readouterr().err
    (tmp_path / "mixed.py").write_text(models.MIXED + "\n")
    assert main(arguments) == exits.MODEL_FAILED
    assert "1 of 2 models are known from before" in capsys.readouterr().err


def test_a_hang_costs_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models.toml").write_text('timeout = 0.2\n[models]\nslow = "slow.py"\n')
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1000)\n")
    arguments = ["sweep", str(tmp_path / "models.toml"), "-o", str(tmp_path / "reports")]
    assert main(arguments) == exits.MODEL_FAILED
    out, err = capsys.readouterr()
    assert out == "0 of 1 model checked; nothing falls back.\n"
    assert "slow timed out: no result within 0.2 s" in err


def test_the_same_tasks_on_a_dask_cluster(swept: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    (swept / "one.toml").write_text('[models]\nmixed = "mixed.py"\n')
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        arguments = ["sweep", str(swept / "one.toml"), "-o", str(tmp_path)]
        assert main([*arguments, "--dask", cluster.scheduler_address]) == exits.PASSED
    assert (tmp_path / "sweep.csv").read_text() == (swept / "reports" / "sweep.csv").read_text()
    assert (tmp_path / "mixed.json").read_text() == (swept / "reports" / "mixed.json").read_text()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models = 3", "names no models"),
        ("[models", "is not TOML"),
        ("[models]\na = 3", "a is 3; accepted: a model as check takes it"),
        ('[models]\n"a/b" = "x.py"', "becomes a file name"),
        ('timeout = "long"\n[models]\na = "x.py"', "timeout is 'long'"),
        ('speed = 1\n[models]\na = "x.py"', "has speed; accepted: models.toml holds a table"),
    ],
)
def test_an_unusable_list(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models.toml").write_text(text)
    arguments = ["sweep", str(tmp_path / "models.toml"), "-o", str(tmp_path / "reports")]
    assert main(arguments) == exits.UNUSABLE_INPUT
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()
