"""Bad input: one sentence, the right exit code, no traceback, no file."""

from pathlib import Path

import pytest
import torch

from mlx_coverage.cli import main
from tests.cli import models


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "supported.py").write_text(models.SUPPORTED)
    (tmp_path / "broken.py").write_text(models.BROKEN)
    (tmp_path / "unfinished.py").write_text("model = (")
    (tmp_path / "empty.py").write_text(models.EMPTY)
    (tmp_path / "corrupt.pt2").write_bytes(b"PK\x03\x04 not a zip file")
    (tmp_path / "corrupt.pte").write_bytes(b"\x10\0\0\0ET12" + bytes(range(200)))
    (tmp_path / "text.pte").write_text("This is no program. " * 20)
    (tmp_path / "locked").mkdir()
    return tmp_path


CASES = [
    # command, exit code, what the sentence says
    (["check", "missing.py"], 2, "there is no such file"),
    (["check", "model"], 2, "names no model"),
    (["check", "no_such_package.model:net"], 2, "no module 'no_such_package.model'"),
    (["check", "broken.py"], 3, "ValueError: the weights are missing (broken.py:3)"),
    (["check", "unfinished.py"], 3, "unfinished.py raised SyntaxError: '(' was never closed"),
    (["check", "empty.py"], 2, "defines none of model, get_model"),
    (["check", "supported.py::missing"], 2, "no name 'missing'"),
    (["check", "supported.py::number"], 2, "is a int; accepted"),
    (["check", "supported.py::model_without_inputs"], 2, "without example inputs"),
    (["check", "supported.py::needs_arguments"], 2, "needs arguments"),
    (["check", "supported.py::raises"], 3, "no such checkpoint"),
    (["check", "supported.py::branch"], 3, "supported.py:"),
    (["check", "supported.py::misfit"], 3, "export failed"),
    (["check", "supported.py::leaves"], 3, "export failed: SystemExit: 7"),
    (["check", "supported.py::fixed"], 3, "your code specialized it to be a constant (2)"),
    (["export", "supported.py::training", "-o", "model.pte"], 3, "call model.eval()"),
    (["check", "corrupt.pt2"], 2, "not a program that this torch can read"),
    (["check", "missing.pt2"], 2, "there is no such file"),
    (["check", "supported.py", "--html", "nowhere/report.html"], 2, "no folder nowhere"),
    (["check", "supported.py", "--json", "locked"], 2, "is a folder"),
    (["export", "supported.py", "-o", "nowhere/model.pte"], 2, "no folder nowhere"),
    (["check", "supported.py", "--html", "/proc/report.html"], 2, "cannot be written"),
    (["check", "supported.py", "--html", "./supported.py"], 2, "is the model itself"),
    (["check", "supported.py", "--json", "a", "--html", "./a"], 2, "the file of another report"),
    (["check", "supported.py", "--json", "-", "--html", "-"], 2, "stdout gets one format"),
    (["export", "supported.py", "-o", "supported.py"], 2, "is the model itself"),
    (["export", "supported.py::gamma", "-o", "model.pte"], 3, "aten.lgamma.default"),
    (["export", "supported.py::branch", "-o", "model.pte"], 3, "export failed"),
    (["export", "supported.py::on_meta", "-o", "model.pte"], 2, "no weights to write"),
    (["check", "supported.py", "--exclude", "aten.coss.default"], 2, "aten.cos.default"),
    (["check", "supported.py", "--exclude", "aten.cos"], 2, "aten.cos.default"),
    (["export", "supported.py", "--exclude", "nope.op", "-o", "model.pte"], 2, "no such op"),
    (["repro", "supported.py", "--exclude", "nope.op"], 2, "--exclude nope.op"),
    (["run", "missing.pte"], 2, "there is no such file"),
    (["run", "corrupt.pte"], 2, "damaged"),
    (["run", "text.pte"], 2, "no ExecuTorch program"),
    (["run", "empty.py"], 2, "too short"),
    (["ops", "no_such_op"], 2, "no op of the registry matches"),
]


@pytest.mark.parametrize(("command", "code", "says"), CASES, ids=lambda v: str(v)[:60])
def test_one_sentence(
    folder: Path, capfd: pytest.CaptureFixture[str], command: list[str], code: int, says: str
) -> None:
    before = sorted(folder.rglob("*.[hjp]*"))
    assert main(command) == code
    out, err = capfd.readouterr()
    assert says in err
    assert err.startswith("mlx-coverage: ")
    assert err.count("\n") == 1
    assert len(err) < 500
    assert "Traceback" not in out + err
    assert " at 0x" not in out + err
    assert sorted(folder.rglob("*.[hjp]*")) == before


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["unknown"],
        ["check"],
        ["check", "supported.py", "--fail-under", "101"],
        ["check", "supported.py", "--fail-under", "most"],
        ["run", "model.pte", "--repeat", "0"],
        ["run", "model.pte", "--device", "tpu"],
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "broken.py", "--traceback"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_export_failure_is_reported_in_full(folder: Path) -> None:
    assert main(["check", "supported.py::branch", "--json", "report.json"]) == 3
    assert '"status": "failed"' in (folder / "report.json").read_text()


def test_defect_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlx_coverage.analyze import summarize

    monkeypatch.setattr(summarize, "_list_stages", lambda *stages: 1 / 0)
    assert main(["check", "supported.py", "--json", "report.json"]) == 4
    err = capsys.readouterr().err
    assert "defect of mlx-coverage" in err
    assert "Traceback" not in err
    assert not Path("report.json").exists()


def test_program_of_another_backend(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(torch.nn.Linear(3, 3), (torch.ones(2, 3),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "other.pte").write_bytes(lowered.to_executorch().buffer)
    capsys.readouterr()
    assert main(["run", "other.pte"]) == 2
    out, err = capsys.readouterr()
    assert "lowered for XnnpackBackend" in err
    assert (out, err.count("\n")) == ("", 1)
