"""`run --profile`: times by delegate, kernel and op, joined to the lines of the model."""

import json
from pathlib import Path

import pytest

from mlx_coverage import runtime
from mlx_coverage.analyze.model import Source
from mlx_coverage.analyze.timings import Part, Profile, Step
from mlx_coverage.cli import main
from mlx_coverage.report.profile import render_profile_text

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("offset", torch.arange(4.0))

    def forward(self, x):
        y = self.linear(x) + self.offset * 2
        kept = torch.nonzero(y[:, 0] > -100).squeeze(-1)
        return torch.sin(y[kept]).sum()

model = Net().eval()
example_inputs = (torch.ones(3, 4),)
"""
LINE_OF_LINEAR, LINE_OF_SIN = 12, 14


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    return tmp_path


def test_model_is_profiled_by_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "net.py", "--profile", "--repeat", "2", "--json", "profile.json"]
    assert main(command) == 0
    assert f"linear net.py:{LINE_OF_LINEAR}" in capsys.readouterr().out
    found = json.loads((folder / "profile.json").read_text())
    assert [part["name"] for part in found["parts"]] == ["delegate 0", "nonzero.out", "delegate 1"]
    assert [part["device"] for part in found["parts"]] == ["mlx", "cpu", "mlx"]
    assert 0 < sum(part["seconds"] for part in found["parts"]) < 3 * found["seconds"]
    steps = {step["op"]: step for step in found["steps"]}
    linear, sine = steps["aten.linear.default"], steps["aten.sin.default"]
    assert (linear["delegate"], linear["source"]["line"]) == (0, LINE_OF_LINEAR)
    assert linear["module"] == "linear"
    assert "addmm" in linear["functions"]
    assert (sine["delegate"], sine["source"]["line"]) == (1, LINE_OF_SIN)
    assert sine["functions"] == ["sin"]
    # What depends on weights alone was computed at lowering: it is no step.
    assert "aten.mul.Tensor" not in steps
    assert all(step["seconds"] > 0 for step in found["steps"])

    # A file says what MLX evaluates, and knows no lines; a call that is not traced is as ever.
    assert main(["export", "net.py", "-o", "net.pte"]) == 0
    assert main(["run", "net.pte", "--profile", "--repeat", "2", "--json", "file.json"]) == 0
    steps = json.loads((folder / "file.json").read_text())["steps"]
    assert {"addmm", "sin"} <= {step["op"] for step in steps}
    assert {step["source"]["file"] for step in steps} == {None}
    before = runtime.counter("calls")
    assert main(["run", "net.pte", "--repeat", "1"]) == 0
    assert runtime.counter("calls") == before + 2 * 2


def test_profile_of_nonsense(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nte.py", "--profile"]) == 2
    assert "did you mean net.py?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["run", "net.py", "--json", "profile.json"])
    assert "add --profile" in capsys.readouterr().err


def test_text_of_a_profile() -> None:
    step = Step(0, "aten.add.Tensor", ("add",), Source("a.py", 3), "layers.0", 3e-3)
    parts = (Part("delegate 0", "mlx", 4e-3), Part("nonzero.out", "cpu", 1e-3))
    lines = render_profile_text(Profile("forward", 5, 5e-3, parts, (step,) * 21)).splitlines()
    assert lines[0] == "forward: 5 ms a call, median of 5 calls"
    assert lines[3].split() == ["4", "ms", "80.0", "%", "mlx", "delegate", "0"]
    assert lines[8].split()[-4:] == ["aten.add.Tensor", "(add)", "layers.0", "a.py:3"]
    assert lines[-1] == "and 1 further step"
