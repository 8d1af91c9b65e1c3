"""`export` and `run`, and the small commands."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mlx_coverage.cli import main
from tests.cli import models


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "supported.py").write_text(models.SUPPORTED)
    return tmp_path


@pytest.fixture
def program(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["export", "supported.py", "-o", "model.pte", "--verify"]) == 0
    out = capsys.readouterr().out
    assert "100 % on MLX (2 of 2 nodes), 1 partition" in out
    assert "verified forward" in out
    return folder / "model.pte"


def test_saved_inputs_give_torchs_numbers(
    folder: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [torch.linspace(-2, 7, 6)]
    torch.save(inputs, folder / "inputs.pt")
    command = ["run", "model.pte", "--inputs", "inputs.pt", "--save-outputs", "outputs.pt"]
    assert main([*command, "--repeat", "3"]) == 0
    (found,) = torch.load(folder / "outputs.pt")
    torch.testing.assert_close(found, inputs[0].cos() + inputs[0])
    out = capsys.readouterr().out
    assert "float32 [6]" in out
    assert re.search(r"median [\d.]+ ms, minimum [\d.]+ ms, 3 calls", out)


@pytest.mark.parametrize("lowered_for", [torch.contiguous_format, torch.channels_last])
def test_inputs_are_laid_out_as_the_program_expects(
    folder: Path, lowered_for: torch.memory_format
) -> None:
    # ExecuTorch reads the data pointer and ignores strides.
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    weights = torch.linspace(-1, 1, 24).reshape(1, 2, 3, 4)
    torch.save((weights, x.to(memory_format=lowered_for)), folder / "parts.pt")
    (folder / "scale.py").write_text(models.SCALE)
    assert main(["export", "scale.py", "-o", "scale.pte", "--verify"]) == 0
    for given in (torch.contiguous_format, torch.channels_last):
        torch.save([x.to(memory_format=given)], folder / "inputs.pt")
        command = ["run", "scale.pte", "--repeat", "1", "--inputs", "inputs.pt"]
        assert main([*command, "--save-outputs", "outputs.pt"]) == 0
        torch.testing.assert_close(torch.load(folder / "outputs.pt")[0], x * weights)


def test_random_inputs_are_the_same_each_time(folder: Path, program: Path) -> None:
    for name in ("a.pt", "b.pt"):
        assert main(["run", "model.pte", "--repeat", "1", "--save-outputs", name]) == 0
    assert torch.equal(torch.load("a.pt")[0], torch.load("b.pt")[0])


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([torch.ones(6), torch.ones(6)], "2 inputs; forward takes 1"),
        ([torch.ones(6).double()], "float64 [6]; forward takes float32 [6]"),
        ([torch.ones(7)], "float32 [7]; forward takes float32 [6]"),
        ({"x": torch.ones(6)}, "holds a dict"),
        ([3], "input 0 is 3"),
    ],
)
def test_inputs_that_do_not_fit(
    folder: Path, program: Path, capsys: pytest.CaptureFixture[str], inputs, says: str
) -> None:
    torch.save(inputs, folder / "inputs.pt")
    assert main(["run", "model.pte", "--inputs", "inputs.pt"]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"This is no pickle.", b"", pickle.dumps([nn.ReLU()])])
def test_inputs_that_are_no_tensors(
    folder: Path, program: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (folder / "inputs.pt").write_bytes(content)
    assert main(["run", "model.pte", "--inputs", "inputs.pt"]) == 2
    assert capsys.readouterr().err == (
        "mlx-coverage: inputs.pt is no file of tensors and numbers; accepted: a list or tuple of "
        "them, saved with torch.save\n"
    )


def test_truncated_program(folder: Path, program: Path) -> None:
    program.write_bytes(program.read_bytes()[:-40])
    # In a process of its own: what C++ writes to stderr counts as well.
    command = [sys.executable, "-m", "mlx_coverage", "run", "model.pte"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "does not load" in done.stderr
    said = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    assert (done.stdout, len(said)) == ("", 1)


def test_wrong_result_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlx_coverage.analyze.execution import Execution

    # The first to run is the delegate; then ExecuTorch alone, which is right.
    right, faults = Execution.__call__, iter([1])
    monkeypatch.setattr(
        Execution, "__call__", lambda s, i: [o + next(faults, 0) for o in right(s, i)]
    )
    assert main(["export", "supported.py", "-o", "model.pte", "--verify"]) == 4
    assert "differs from eager torch" in capsys.readouterr().err
    assert not (folder / "model.pte").exists()


@pytest.mark.parametrize("name", ["no_dimensions", "numbers", "written_input", "wide", "positions"])
def test_unusual_interfaces_run(folder: Path, name: str) -> None:
    (folder / "interfaces.py").write_text(models.INTERFACES)
    assert main(["export", f"interfaces.py::{name}", "-o", "model.pte", "--verify"]) == 0
    assert main(["run", "model.pte", "--repeat", "1"]) == 0


@pytest.mark.parametrize(
    ("name", "says"), [("random", "other numbers in each call"), ("transposed", ".contiguous()")]
)
def test_what_cannot_be_verified(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    (folder / "interfaces.py").write_text(models.INTERFACES)
    assert main(["export", f"interfaces.py::{name}", "-o", "model.pte", "--verify"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (folder / "model.pte").exists()


def test_wrong_result_of_executorch_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Its kernel of remainder takes the sign of the dividend.
    (folder / "interfaces.py").write_text(models.INTERFACES)
    wrong = ["interfaces.py::remainders", "--exclude", "aten.remainder.Scalar"]
    assert main(["check", *wrong]) == 3
    assert "runtime/wrong-kernel" in capsys.readouterr().out
    assert main(["export", *wrong, "-o", "model.pte", "--verify"]) == 3
    err = capsys.readouterr().err
    assert "so it does with nothing on MLX" in err
    assert err.count("mlx-coverage:") == 1
    assert not (folder / "model.pte").exists()


VERIFIED = {
    "interfaces.py::random": 2,
    "interfaces.py::remainders": 3,
    "interfaces.py::halves": 0,
    "interfaces.py::rows": 0,
    "interfaces.py::otherwise": 3,
}


@pytest.mark.parametrize("name", VERIFIED)
def test_check_and_export_say_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (folder / "interfaces.py").write_text(models.INTERFACES)
    options = ["--verify", "--exclude", "aten.remainder.Scalar"] if "rem" in name else ["--verify"]
    assert main(["export", name, "-o", "model.pte", *options]) == VERIFIED[name]
    exported = capsys.readouterr()
    assert main(["check", name, *options]) == VERIFIED[name]
    checked = capsys.readouterr()
    if VERIFIED[name]:
        says = [line for line in checked.err.splitlines() if line.startswith("mlx-coverage: ")]
        assert says[-1] in exported.err
        assert ("it begins at aten.remainder.Scalar (interfaces.py:" in exported.err) == (
            "remainders" in name
        )
        # What ExecuTorch or torch.export computes otherwise is no reason to have no report.
        assert ("on MLX" in checked.out) == (VERIFIED[name] == 3)
    else:
        (line,) = (line.strip() for line in exported.out.splitlines() if "verified" in line)
        assert checked.err.splitlines() == [f"mlx-coverage: {line}"]
        assert "Verified: the full lowering" in checked.out
        assert (name.endswith("halves")) == ("tolerance 0.06" in line)
        assert (name.endswith("rows")) == ("x.shape[0] = 0; x.shape[0] = 1; " in line)


def test_method_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "supported.py::methods", "-o", "two.pte"]) == 0
    assert main(["run", "two.pte"]) == 2
    assert "--method first or second" in capsys.readouterr().err
    assert main(["run", "two.pte", "--method", "second"]) == 0
    assert "float32 [3]" in capsys.readouterr().out


def test_initial_values_survive_outside_the_delegate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "state.py").write_text(
        models.PREAMBLE
        + """
class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2

model = Sum()
example_inputs = (torch.ones(3),)
"""
    )
    for options in ([], ["--exclude", "aten.add.Tensor"]):
        assert main(["export", "state.py", "-o", "state.pte", "--verify", *options]) == 0


def test_ops_names_the_domain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops", "aten.gelu*"]) == 0
    out = capsys.readouterr().out
    assert 'gelu(Tensor self, *, str approximate="none") -> Tensor' in out
    assert "approximate is 'none' or 'tanh'" in out


def test_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) in (0, 1)
    out = capsys.readouterr().out
    for name in ("mlx-coverage", "torch", "executorch", "mlx", "device", "compiler", "runtime"):
        assert re.search(rf"^{name} ", out, re.MULTILINE)


def test_build_runtime_prints_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-runtime"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


def test_what_cannot_be_written_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "median.py").write_text(
        models.PREAMBLE
        + """
class Median(nn.Module):
    def forward(self, x):
        return x.median(0)

model = Median()
example_inputs = (torch.ones(3, 2),)
"""
    )
    assert main(["export", "median.py", "-o", "median.pte"]) == 3
    err = capsys.readouterr().err
    assert "no named tuples (median)" in err
    assert "tuple(result)" in err
    assert not (folder / "median.pte").exists()
