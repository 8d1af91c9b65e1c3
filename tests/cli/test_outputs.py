"""Formats, files, gates and settings of `check` and `diff`, on reports made by hand."""

import dataclasses
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_coverage.analyze.model import CoverageReport, Source, Suppression, to_json
from mlx_coverage.cli import check, main
from mlx_coverage.cli.console import describe_terminal
from mlx_coverage.cli.settings import KEYS, read_settings
from mlx_coverage.report import RENDERERS, render_csv, render_sarif
from mlx_coverage.report.formats import OUTPUT_FORMATS
from tests.report.samples import make_failure, make_report


def without_findings(report: CoverageReport) -> CoverageReport:
    """The report of a model before anything fell back."""
    (method,) = report.methods
    better = dataclasses.replace(method, findings=(), partitions=0)
    return dataclasses.replace(report, methods=(better,))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with reports in it; a check of any model finds that of `make_report`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check, "check_model", lambda model, args: (make_report(), 0))
    for name in ("model.py", "net.py"):
        (tmp_path / name).touch()
    (tmp_path / "same.json").write_text(to_json(make_report()))
    (tmp_path / "better.json").write_text(to_json(without_findings(make_report())))
    (tmp_path / "failed.json").write_text(to_json(make_failure()))
    (tmp_path / "text.json").write_text("no report")
    (tmp_path / "other.json").write_text('{"schema_version": 1}')
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str, str]:
    code = main([*command])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize(("threshold", "code"), [("70", 0), ("80", 1)])
def test_exit_code_is_the_same_in_every_format(
    capsys: pytest.CaptureFixture[str], form: str, threshold: str, code: int
) -> None:
    found, out, err = run(
        capsys, "check", "model.py", "--output-format", form, "--fail-under", threshold
    )
    assert found == code
    assert ("--fail-under asks for" in err) == bool(code)
    assert out == RENDERERS[form](make_report())


def test_reports_go_to_files_and_stdout_stays_data(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    code, out, err = run(
        capsys, "check", "model.py", "--output-format", "csv", "--report", "sarif:out.sarif",
        "--report", "markdown:summary.md", "--html", "page.html", "--json", "report.json",
    )  # fmt: skip
    assert code == 0
    assert out == render_csv(make_report())
    assert (folder / "out.sarif").read_text() == render_sarif(make_report())
    assert (folder / "report.json").read_text() == to_json(make_report())
    assert (folder / "page.html").read_text().startswith("<!doctype html>")
    assert err.splitlines() == [
        f"mlx-coverage: wrote {name}"
        for name in ("out.sarif", "summary.md", "page.html", "report.json")
    ]


def test_outputs_fit_to_be_shown_to_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (method,) = make_report().methods
    source = Source("/home/someone/net.py", 12, "y = f(x)  # secret", "exact")
    finding = dataclasses.replace(method.findings[0], source=source, fixes=())
    method = dataclasses.replace(method, findings=(finding,), sources=(Source(), source))
    found = dataclasses.replace(make_report(), methods=(method,), model="/home/someone/net.py")
    monkeypatch.setattr(check, "check_model", lambda model, args: (found, 0))
    (folder / "base.json").write_text(to_json(without_findings(found)))
    _, out, _ = run(
        capsys, "check", "net.py", "--no-source", "--redact-paths", "--baseline", "base.json",
        "--html", "page.html", "--json", "report.json",
    )  # fmt: skip
    for text in (out, (folder / "page.html").read_text(), (folder / "report.json").read_text()):
        assert "net.py" in text
        assert "someone" not in text
        assert "secret" not in text
    assert main(["check", "net.py"]) == 0
    assert "/home/someone/net.py:12" in capsys.readouterr().out


def test_comments_without_effect_are_said_in_every_format(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    comments = (
        Suppression("net.py", 3, ("op/dtype",), "why"),
        Suppression("net.py", 9, ("op/rank",), "why", "nothing falls back here"),
    )
    found = dataclasses.replace(make_report(), suppressions=comments)
    monkeypatch.setattr(check, "check_model", lambda model, args: (found, 0))
    for form in OUTPUT_FORMATS:
        code, _, err = run(capsys, "check", "net.py", "--output-format", form)
        assert (code, err) == (0, "mlx-coverage: net.py:9: nothing falls back here\n")


def test_unwritable_report_is_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(check, "check_model", lambda model, args: pytest.fail("worked"))
    code, out, err = run(
        capsys, "check", "model.py", "--report", "json:good.json", "--report", "csv:no/a.csv"
    )
    assert (code, out) == (2, "")
    assert "no folder" in err
    assert not (folder / "good.json").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--output-format", "html"], "'html' is no format"),
        (["--output-format", "yaml"], "'yaml' is no format"),
        (["--report", "report.json"], "'report.json' is no report"),
        (["--report", "json:"], "'json:' is no report"),
        (["--fail-on", "fewer-partitions"], "'fewer-partitions' is no gate"),
    ],
)
def test_unknown_values_are_refused(
    capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", "model.py", *options])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert says in err
    assert "accepted" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("baseline", "gates", "code", "says"),
    [
        ("same.json", "new-fallback,more-partitions", 0, ""),
        ("better.json", "new-fallback", 1, "24 new fallback nodes of aten.plain.default at"),
        ("better.json", "more-partitions", 1, "plain has 1 partition, 0 before"),
        ("missing.json", "new-fallback", 2, "there is no such file"),
        ("text.json", "new-fallback", 2, "the report is not JSON"),
        ("other.json", "new-fallback", 2, "schema version 1; accepted: 4"),
    ],
)
def test_baseline(
    capsys: pytest.CaptureFixture[str], baseline: str, gates: str, code: int, says: str
) -> None:
    found, out, err = run(capsys, "check", "model.py", "--baseline", baseline, "--fail-on", gates)
    assert found == code
    assert says in err
    assert bool(out) == (code != 2)
    # Without the gate the same comparison passes.
    if code != 2:
        assert main(["check", "model.py", "--baseline", baseline]) == 0


def test_comparison_follows_the_formats_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "check", "model.py", "--baseline", "better.json")
    assert "+ 24 nodes of aten.plain.default at plain.py:12: op/dtype" in out
    _, out, _ = run(
        capsys, "check", "model.py", "--baseline", "better.json", "--output-format", "json"
    )
    assert out == to_json(make_report())


def test_gate_on_changes_needs_a_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", "model.py", "--fail-on", "new-fallback")
    assert code == 2
    assert "add --baseline" in err


def test_diff_of_reports(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "diff", "better.json", "same.json")
    assert code == 0
    assert "+ 24 nodes of aten.plain.default" in out
    assert "partitions 0 -> 1" in out
    code, out, _ = run(capsys, "diff", "same.json", "better.json", "--output-format", "json")
    (method,) = json.loads(out)["methods"]
    assert method["partitions"] == [1, 0]
    assert [change["nodes"] for change in method["disappeared"]] == [24]
    assert method["appeared"] == []
    assert run(capsys, "diff", "better.json", "same.json", "--fail-on", "new-fallback")[0] == 1
    assert run(capsys, "diff", "same.json", "failed.json", "--fail-on", "new-fallback")[0] == 1
    assert run(capsys, "diff", "same.json", "same.json", "--fail-on", "new-fallback")[0] == 0
    assert run(capsys, "diff", "same.json", "missing.json")[0] == 2


def test_reader_that_has_seen_enough_changes_no_exit_code(folder: Path) -> None:
    command = [sys.executable, "-m", "mlx_coverage", "diff", "better.json", "same.json"]
    command += ["--fail-on", "new-fallback"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.decode().count("\n") == err.decode().count("mlx-coverage: ") >= 1


@pytest.mark.parametrize(
    ("variables", "color"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_no_color(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], color: bool) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert describe_terminal(stream)["color"] is color
    assert describe_terminal(io.StringIO())["color"] is False


def test_diff_of_a_report_and_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "diff", "better.json", "model.py", "--output-format", "markdown")
    assert code == 0
    assert "| appeared | 24 |" in out


def write_settings(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.mlx-coverage]\n{text}\n")


def test_settings_are_defaults(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    write_settings(
        folder,
        'fail-under = 80\noutput-format = "concise"\nbaseline = "better.json"\n'
        'fail-on = ["new-fallback"]\nreport = ["csv:found.csv"]',
    )
    deeper = folder / "deeper"
    deeper.mkdir()
    (deeper / "model.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        # Paths in the file are relative to the file.
        patch.chdir(deeper)
        code, out, err = run(capsys, "check", "model.py")
    assert code == 1
    assert "\nplain.py:12: op/dtype" in out
    assert "--fail-under asks for 80 %" in err
    assert "new-fallback: 24" in err
    assert (folder / "found.csv").is_file()
    # The command line goes before, down to zero.
    options = ["--fail-under", "0", "--baseline", "same.json", "--output-format", "github"]
    code, out, _ = run(capsys, "check", "model.py", *options)
    assert code == 0
    assert out.startswith("::error")
    assert run(capsys, "check", "model.py", "--no-settings")[0] == 0


def test_excluded_ops_of_the_settings_reach_the_partitioner(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(folder, 'exclude = ["aten.cos.default"]')
    seen: list[list[str]] = []

    def look(model: str, args) -> tuple[CoverageReport, int]:
        seen.append(args.exclude)
        return make_report(), 0

    monkeypatch.setattr(check, "check_model", look)
    assert main(["check", "model.py"]) == 0
    assert main(["check", "model.py", "--exclude", "aten.sin.default"]) == 0
    assert seen == [["aten.cos.default"], ["aten.sin.default"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fail_under = 80", "no key 'fail_under'; accepted: baseline, exclude"),
        ("fail-under = 101", "'101' is no percentage"),
        ("fail-under = true", "True is no percentage"),
        ('exclude = "aten.add.Tensor"', "is no list"),
        ("exclude = [1]", "is no string"),
        ('output-format = "html"', "'html' is no format"),
        ('fail-on = ["everything"]', "'everything' is no gate"),
        ('report = ["page.html"]', "'page.html' is no report"),
        ("fail-under = ", "cannot be read"),
    ],
)
def test_bad_settings_are_one_sentence(
    capsys: pytest.CaptureFixture[str], folder: Path, text: str, says: str
) -> None:
    write_settings(folder, text)
    code, out, err = run(capsys, "check", "model.py")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert "pyproject.toml" in err


def test_documented_settings_and_formats_are_all_there_are(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ci.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (folder / "pyproject.toml").write_text(example)
    assert set(read_settings(folder)) == set(KEYS)
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(RENDERERS)
