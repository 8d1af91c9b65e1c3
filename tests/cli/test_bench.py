"""`bench`: every path that Linux has runs for real on a tiny model, and the table is true."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlx_coverage.analyze import benchmark
from mlx_coverage.analyze.benchmark import Request
from mlx_coverage.analyze.model import from_json
from mlx_coverage.analyze.timings import KEYS, Benchmark, Measurement
from mlx_coverage.cli import main
from mlx_coverage.report.benchmark import render_benchmark_json, render_benchmark_text

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return torch.relu(self.linear(x))

torch.manual_seed(0)
model = Net().eval()
example_inputs = (torch.randn(3, 4),)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, Path]:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "net.py").write_text(MODEL)
    request = Request(str(folder / "net.py"), repeat=3)
    benchmark._prepare(request, folder)
    return request, folder


def test_what_is_not_here_is_missing(prepared: tuple[Request, Path]) -> None:
    facts = json.loads((prepared[1] / "facts.json").read_text())
    assert facts["refusals"] == {}
    here = set(KEYS) - facts["missing"].keys()
    assert {"torch", "torch-compile", "portable", "xnnpack", "delegate"} <= here
    assert "mlx-lm" in facts["missing"]


@pytest.mark.parametrize("key", ["torch", "portable", "xnnpack", "delegate", "delegate-compiled"])
def test_path_runs_and_is_right(key: str, prepared: tuple[Request, Path]) -> None:
    request, folder = prepared
    compiled = key == "delegate-compiled"
    try:
        benchmark._measure(key, request, folder)
    finally:
        if compiled:
            from mlx_coverage import runtime

            runtime.set_options(compile=False)
    found = json.loads((folder / f"{key}.json").read_text())
    assert found["error"] < 1e-5
    assert 0 < found["low"] <= found["median"] <= found["high"]
    assert found["first"] > 0
    assert found["calls"] == 3


def test_wrong_results_show(prepared: tuple[Request, Path]) -> None:
    folder = prepared[1]
    expected = torch.load(folder / "expected.pt")
    assert benchmark._compare(expected, folder) == 0
    assert (benchmark._compare([expected[0] * 1.5], folder) or 0) > 0.3
    assert benchmark._compare([], folder) is None


def test_table_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "model.py", "--only", "delegate", "--only", "coreml", "--repeat", "3"]
    assert main([*command, "--json", "bench.json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("model.py, forward\n")
    assert "eager torch, CPU " in out
    assert "this delegate " in out
    assert "missing: ExecuTorch, Core ML: the installed executorch has no CoreMLBackend" in out
    written = json.loads((folder / "bench.json").read_text())
    assert [m["status"] for m in written["measurements"]] == ["measured", "missing", "measured"]
    assert main(["check", "model.py", "--measured", "bench.json"]) == 2
    assert "was not measured on a Mac" in capsys.readouterr().err


def test_program_file_is_timed_as_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "model.py", "-o", "model.pte"]) == 0
    assert main(["bench", "model.pte", "--only", "delegate", "--repeat", "2"]) == 0
    out = capsys.readouterr().out
    assert "this delegate " in out
    assert "missing: eager torch, CPU: a .pte is lowered for one path" in out


def test_model_that_cannot_be_prepared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.py").write_text("raise ValueError('no weights')")
    assert main(["bench", "broken.py"]) == 2
    assert "ValueError: no weights" in capsys.readouterr().err


MEASURED = Measurement(
    "torch", "eager torch, CPU", "measured", "", 2e-3, 1e-3, 3e-3, 0.1, 2**20, 0.0, 9
)
FOUND = Benchmark(
    "m", "forward", "machine", ("torch 2",),
    (
        MEASURED,
        replace(MEASURED, key="delegate", title="this delegate", median=1e-3),
        Measurement("xnnpack", "ExecuTorch, XNNPACK", "failed", "it fell over"),
    ),
    "M4", 5e-4, 2.0,
)  # fmt: skip


def test_ratios_bounds_and_failures_are_in_the_table() -> None:
    lines = render_benchmark_text(FOUND).splitlines()
    (own,) = (line for line in lines if line.startswith("this delegate "))
    assert own.split() == "this delegate 1 ms 1 ms - 3 ms 0.50x 100 ms 1.0 MiB 0.0e+00".split()
    assert "bound on M4: 500 us; this delegate takes 2.00 times that" in lines
    assert "failed: ExecuTorch, XNNPACK: it fell over" in lines


def test_measured_ratio_is_applied(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bench.json").write_text(render_benchmark_json(FOUND))
    assert main(["check", "model.py", "--measured", "bench.json", "--json", "report.json"]) == 0
    report = from_json((folder / "report.json").read_text())
    for bound in report.methods[0].speed.bounds:
        assert bound.expected_seconds == pytest.approx(2 * bound.seconds, rel=1e-3)
    (folder / "other.json").write_text("{}")
    assert main(["check", "model.py", "--measured", "other.json"]) == 2
    assert "no file that mlx-coverage bench --json wrote" in capsys.readouterr().err
