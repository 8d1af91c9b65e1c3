"""`mlx-coverage check` on models that reach the plan."""

import json
from pathlib import Path

import pytest

from mlx_coverage.analyze.model import SCHEMA_VERSION, from_json
from mlx_coverage.cli import main
from tests.cli import models


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed.py").write_text(models.MIXED)
    (tmp_path / "supported.py").write_text(models.SUPPORTED)
    return tmp_path


def test_verdict_and_reports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mixed.py", "--html", "report.html", "--json", "report.json"]) == 0
    out, err = capsys.readouterr()
    report = from_json((folder / "report.json").read_text())
    (method,) = report.methods
    assert (method.nodes, method.delegated, method.partitions) == (8, 2, 2)
    assert sum(finding.count for finding in method.findings) == method.fallback
    (double,) = method.findings
    assert {count.op: count.nodes for count in double.ops}["aten.tanh.default"] == 2
    assert double.reason.slug == "op/dtype"
    assert double.source.place == "mixed.py:7"
    assert double.source.code == "return y.double().tanh().float()"
    assert double.source.provenance == "exact"
    assert [(m.path, m.instances) for m in double.modules] == [("layers.*", 2)]
    assert "25.0 % on MLX (2 of 8 nodes)" in out
    assert "op/dtype" in out
    assert "mixed.py:7" in out
    # The model's own prints are no data.
    assert "the model prints" not in out
    assert "the model prints" in err
    assert "<!doctype html>" in (folder / "report.html").read_text()
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == [
        "mixed.py", "report.html", "report.json", "supported.py",
    ]  # fmt: skip


def test_json_to_stdout_is_deterministic(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for _ in range(2):
        assert main(["check", "mixed.py", "--json", "-"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize(("percentage", "code"), [("25", 0), ("25.1", 1), ("100%", 1), ("0", 0)])
def test_gate(percentage: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mixed.py", "--fail-under", percentage]) == code
    assert ("--fail-under asks for" in capsys.readouterr().err) == bool(code)


def test_program_without_nodes_passes_no_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "supported.py::identity"]) == 0
    assert "n/a" in capsys.readouterr().out
    assert main(["check", "supported.py::identity", "--fail-under", "0"]) == 1


def test_methods_are_reported_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "supported.py::methods", "--json", "-"]) == 0
    report = from_json(capsys.readouterr().out)
    assert [method.name for method in report.methods] == ["first", "second"]
    assert report.delegated == report.nodes == 4


def test_excluded_op_falls_back_by_that_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "supported.py", "--exclude", "aten.cos.default", "--json", "-"]) == 0
    (method,) = from_json(capsys.readouterr().out).methods
    assert [(f.op, f.reason.slug) for f in method.findings] == [
        ("aten.cos.default", "plan/excluded")
    ]


def test_exclusion_without_effect_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--exclude", "aten.tanh.default", "--exclude", "aten.cos.default"]
    assert main(["check", "supported.py", *options, "--output-format", "json"]) == 0
    out, err = capsys.readouterr()
    assert from_json(out).delegated == 1
    sentence = "--exclude aten.tanh.default: the planned program has no node of that op"
    assert err == f"mlx-coverage: {sentence}\n"


def test_verify_lowers_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mixed.py", "--verify"]) == 0
    assert "Verified" in capsys.readouterr().out


def test_weights_are_not_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "supported.py::on_meta"]) == 0
    assert "100 % on MLX" in capsys.readouterr().out
    assert main(["check", "supported.py::on_meta", "--verify"]) == 2
    assert "meta" in capsys.readouterr().err


def test_fix_of_a_refused_program_is_verified(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = "example_inputs = (torch.ones(3, 4), torch.linspace(-1, 1, 18).view(3, 6))"
    text = f"{models.PREAMBLE}model = nn.Bilinear(4, 6, 5).eval()\n{inputs}\n"
    (folder / "gate.py").write_text(text)
    assert main(["check", "gate.py", "--fixes", "--report", "json:report.json"]) == 3
    assert "(verified: " in capsys.readouterr().out
    report = from_json((folder / "report.json").read_text())
    finding = next(f for f in report.methods[0].findings if f.op == "aten._trilinear.default")
    assert [(fix.kind, fix.verified) for fix in finding.fixes] == [("module", True)]


def test_op_outside_core_aten_is_refused_and_still_analysed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "supported.py::gamma", "--json", "-"]) == 3
    out, err = capsys.readouterr()
    report = from_json(out)
    assert [stage.status for stage in report.stages] == ["ok", "ok", "failed", "ok"]
    assert "aten.lgamma.default" in report.stages[2].sentence
    assert [f.op for f in report.methods[0].findings] == ["aten.lgamma.default"]
    assert err.count("\n") == 1
