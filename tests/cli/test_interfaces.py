"""Several models, quiet output, suggestions, progress without a terminal, and ready-made files."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mlx_coverage.cli import console, main
from mlx_coverage.report import RENDERERS
from mlx_coverage.report.verdict import describe_headline
from tests.cli import models
from tests.report.samples import make_report

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.py").write_text(models.SUPPORTED)
    (tmp_path / "second.py").write_text(models.MIXED)
    return tmp_path


def test_several_models_and_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "first.py", "second.py", "-q"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "first.py: Lowers as one delegate."
    assert second.startswith("second.py: Lowers in ")
    assert main(["check", "first.py", "second.py", "-q", "--fail-under", "100"]) == 1


@pytest.mark.parametrize("options", [["--json", "a"], ["--output-format", "sarif"]])
def test_several_models_share_no_document(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check", "first.py", "second.py", *options])
    assert "belong to one model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["chek", "first.py"], "did you mean check?"),
        (["check", "first.py", "--jsn=a"], "did you mean --json?"),
        (["check", "firts.py"], "did you mean first.py?"),
        (["check", "first"], "did you mean first.py?"),
        (["run", "model.pte"], "accepted: an ExecuTorch program"),
    ],
)
def test_nonsense_is_answered_without_torch(command: list[str], hint: str) -> None:
    code = f"from mlx_coverage.cli import main; import sys; code = main({command}); sys.exit(code)"
    # Importing torch would fail here.
    blocked = f"import sys; sys.modules['torch'] = None; {code}"
    done = subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1


def test_strict_export_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "first.py", "--strict-export", "-q"]) == 0
    assert main(["check", "first.py::branch", "--strict-export", "-q"]) == 3
    assert "(strict export fails, too)" not in capsys.readouterr().err


def test_stages_are_lines_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "FIRST", 0.01)
    monkeypatch.setattr(console, "AGAIN", 0.02)
    said = ""
    with console.progress("exporting"):
        while said.count("\n") < 2:
            time.sleep(0.01)
            said += capsys.readouterr().err
    first, second, *_ = said.splitlines()
    assert first == "mlx-coverage: exporting ..."
    assert re.fullmatch(r"mlx-coverage: exporting for \d+ s \.\.\.", second)


def test_a_short_stage_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("exporting"):
        pass
    assert capsys.readouterr().err == ""


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    folder_of_python = Path(sys.executable).parent
    path = f"{folder_of_python}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pre_commit_hook_runs(folder: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == "mlx-coverage"
    entry = shlex.split(hook["entry"])
    assert entry[0] == "mlx-coverage"
    command = shlex.join([sys.executable, "-m", "mlx_coverage", *entry[1:], "second.py"])
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^second.py:\d+: op/", done.stdout, re.MULTILINE)


def test_action_checks_and_annotates(folder: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    install, check = action["runs"]["steps"]
    for step in (install, check):
        # Inputs reach the shell as variables, never as code.
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
    given = dict.fromkeys(check["env"], "")
    assert given.keys() == {"MODELS", "ARGUMENTS"}
    done = run(check["run"], folder, MODELS="first.py second.py", ARGUMENTS="--fail-under 100")
    assert done.returncode == 1, done.stderr
    assert re.search(r"^::warning .*file=second.py,line=\d+", done.stdout, re.MULTILINE)


def test_problem_matcher_finds_the_lines() -> None:
    (task,) = json.loads((ROOT / "editors/vscode/tasks.json").read_text())["tasks"]
    matcher = task["problemMatcher"]["pattern"]
    report = make_report()
    lines = RENDERERS["concise"](report).splitlines()
    found = [m for line in lines if (m := re.match(matcher["regexp"], line))]
    assert [m[matcher["file"]] for m in found] == ["plain.py"]
    assert (found[0][matcher["line"]], found[0][matcher["code"]]) == ("12", "op/dtype")
    assert found[0][matcher["message"]].startswith("aten.plain.default x24")
    assert describe_headline(report) in lines[0]
