"""`diff` of two real models, with comments that accept a fallback; and `explain`."""

from pathlib import Path

import pytest

from mlx_coverage.analyze.vocabulary import list_reasons
from mlx_coverage.cli import main
from tests.cli import models

NET = (
    models.PREAMBLE
    + """
from parts import Part

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()

    def forward(self, x):
        return self.part(x)

model = Net()
example_inputs = (torch.ones(2, 3),)
"""
)
# The same file names, as in two checkouts of one repository.
OLD_PART = """import torch

class Part(torch.nn.Module):
    def forward(self, x):
        return torch.cos(x)
"""
NEW_PART = """import torch

class Part(torch.nn.Module):
    def forward(self, x):
        # mlx-coverage: allow[op/dtype] sums of many small terms
        y = torch.cos(x).double()
        y = torch.tanh(y)
        z = torch.sin(x).double()
        return y.float(), z.exp().float()  # mlx-coverage: allow[op/rank] left over
"""


def test_diff_of_two_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, part in (("old", OLD_PART), ("new", NEW_PART)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(NET)
        (tmp_path / folder / "parts.py").write_text(part)
    assert main(["diff", "old/net.py", "new/net.py", "--fail-on", "new-fallback"]) == 1
    out, err = capfd.readouterr()
    assert "100 % (1 of 1 node) -> 25.0 % (2 of 8 nodes) on MLX" in out
    assert "+ 3 nodes of aten._to_copy.default at new/parts.py:6: op/dtype" in out
    assert "(allowed: sums of many small terms)" in " ".join(out.split())
    # What a comment accepts passes the gate.
    assert "new/parts.py:6" not in err
    assert "3 new fallback nodes of aten._to_copy.default at new/parts.py:8" in err


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    for entry in list_reasons():
        assert main(["explain", entry.slug]) == 0
        out = capsys.readouterr().out
        said = " ".join(out.split())
        assert said.startswith(f"{entry.slug}: {entry.title} {entry.meaning} {entry.remedy}")
        assert ("example_inputs" in out) == bool(entry.example)
        assert all(len(line) <= 100 for line in out.splitlines())
    assert main(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list_reasons())
    assert main(["explain", "op/none"]) == 2
    assert "there is no reason 'op/none'" in capsys.readouterr().err


@pytest.mark.parametrize("order", [("supported.py", "broken.py"), ("broken.py", "supported.py")])
def test_diff_with_a_model_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    order: tuple[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "supported.py").write_text(models.SUPPORTED)
    (tmp_path / "broken.py").write_text(models.BROKEN)
    assert main(["diff", *order]) == 3
    assert "the weights are missing" in capfd.readouterr().err
