"""`mlx-coverage check --target`: the delegate that comes with ExecuTorch."""

import json
from pathlib import Path

import pytest

from mlx_coverage.analyze.model import from_json
from mlx_coverage.analyze.upstream import bindings
from mlx_coverage.cli import main
from mlx_coverage.report import RENDERERS
from mlx_coverage.report.contrast import CONTRAST_RENDERERS
from tests.cli import models


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed.py").write_text(models.MIXED)
    return tmp_path


def test_report_of_the_other_delegate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "mixed.py", "--target", "executorch", "--json", "report.json"]
    assert main([*command, "--fail-under", "100"]) == 3
    out, err = capsys.readouterr()
    assert "Target: ExecuTorch's own MLX delegate\n" in out
    assert 'its support check says: "' in out
    assert "UNSUPPORTED OPS SUMMARY" not in err  # its own log
    report = from_json((folder / "report.json").read_text())
    assert report.target == "executorch"
    (method,) = report.methods
    assert 0 < method.delegated < method.nodes
    assert {finding.reason.slug for finding in method.findings} == {"upstream/unsupported"}
    # A baseline is of the same delegate.
    assert main(["check", "mixed.py", "--baseline", "report.json"]) == 2
    assert "accepted: one of --target mlx-coverage" in capsys.readouterr().err


def test_both_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mixed.py", "--target", "both", "--output-format", "json"]) == 0
    (method,) = json.loads(capsys.readouterr().out)["methods"]
    assert (method["ours"]["nodes"], method["ours"]["delegated"]) == (8, 2)
    rows = {row["op"]: row for row in method["ops"]}
    for side in ("ours", "theirs"):
        assert rows["aten.tanh.default"][side]["nodes"] == 2
        assert sum(row[side]["delegated"] for row in rows.values()) == method[side]["delegated"]
    (remark,) = rows["aten.tanh.default"]["theirs"]["remarks"]
    ((line, nodes),) = ((line["source"]["line"], line["nodes"]) for line in remark["lines"])
    assert (line, nodes, remark["nodes"]) == (7, 2, 2)
    assert "float64" in remark["reason"]["sentence"]


@pytest.mark.parametrize("target", ["executorch", "both"])
def test_every_format_of_a_target(
    target: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formats = CONTRAST_RENDERERS if target == "both" else RENDERERS
    reports = [f"--report={form}:report.{form}" for form in formats]
    assert main(["check", "mixed.py", "--target", target, *reports, "--no-source"]) == (
        0 if target == "both" else 3  # it has no kernel for what that delegate leaves
    )
    assert capsys.readouterr().out
    written = {form: (folder / f"report.{form}").read_text() for form in formats}
    for form, text in written.items():
        assert "tanh" in text, form
        assert "y.double().tanh()" not in text, form
    runs = json.loads(written["sarif"])["runs"]
    assert runs[-1]["properties"]["target"] == "executorch"
    assert runs[-1]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 7
    assert ("Beside ExecuTorch's own delegate" in written["html"]) == (target == "both")
    # What does not go with the target is not advised.
    assert ("--verify" in written["html"]) == (target == "both")


def test_model_that_fails_is_reported_for_both(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.py").write_text(models.BROKEN)
    command = ["check", "broken.py", "--target", "both", "--report", "sarif:report.sarif"]
    assert main(command) == 3
    out, err = capsys.readouterr()
    assert "import failed: broken.py raised ValueError: the weights are missing" in out
    assert "Traceback" not in err
    for run in json.loads((folder / "report.sarif").read_text())["runs"]:
        assert [result["level"] for result in run["results"]] == ["error"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["executorch", "--verify"], "--verify does not go with --target executorch"),
        (["executorch", "--exclude", "aten.add.Tensor"], "--exclude does not go with"),
        (["both", "--fixes"], "--fixes does not go with --target both"),
        (["executorch", "--fix-decompositions"], "--fix-decompositions does not go with"),
        (["both", "--report", "github:x"], "--target both has no format 'github'; accepted: "),
        (["both", "--fail-under", "0"], "--fail-under does not go with --target both"),
        (
            ["both", "--output-format", "junit"],
            "--target both has no format 'junit'; accepted: full, ",
        ),
    ],
)
def test_options_that_do_not_go_with_it(
    options: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(folder.iterdir())
    assert main(["check", "mixed.py", "--target", *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert list(folder.iterdir()) == before


@pytest.mark.parametrize("target", ["executorch", "both"])
def test_executorch_without_the_delegate(
    target: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bindings, "_find_executorch", lambda: folder)
    assert main(["check", "mixed.py", "--target", target]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "the installed ExecuTorch has none" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("target", "ignored"),
    [("both", "baseline, fail-on, fail-under"), ("executorch", "exclude")],
)
def test_settings_that_do_not_go_with_it_are_named(
    target: str, ignored: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "baseline": '"missing.json"',
        "exclude": '["aten.cos.default"]',
        "fail-on": '["new-fallback"]',
        "fail-under": "100",
    }
    chosen = [name for name in settings if name in ignored]
    lines = [f"{name} = {settings[name]}" for name in chosen]
    (folder / "pyproject.toml").write_text("\n".join(["[tool.mlx-coverage]", *lines]))
    assert main(["check", "mixed.py", "--target", target]) == (3 if target == "executorch" else 0)
    said = f"pyproject.toml: not applied with --target {target}: {ignored}\n"
    assert said in capsys.readouterr().err


def test_comments_that_accept_go_for_both(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = models.MIXED.splitlines()
    lines[6] += "  # mlx-coverage: allow[op/dtype] of ours"
    lines.insert(6, "        # mlx-coverage: allow[upstream/unsupported] of theirs")
    lines.append("Z = 3  # mlx-coverage: allow[op/rank] of none")
    (folder / "mixed.py").write_text("\n".join(lines))
    assert main(["check", "mixed.py", "--target", "both", "--json", "both.json"]) == 0
    out, err = capsys.readouterr()
    assert "accepted at mixed.py:7 (upstream/unsupported): of theirs" in out
    assert "accepted at mixed.py:8 (op/dtype): of ours" in out
    assert err.count("nothing falls back here") == 1
    both = json.loads((folder / "both.json").read_text())
    for side, why in (("ours", "of ours"), ("theirs", "of theirs")):
        accepted = [f["allowed"] for m in both[side]["methods"] for f in m["findings"]]
        assert why in accepted
