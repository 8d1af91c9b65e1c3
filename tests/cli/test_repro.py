"""`mlx-coverage repro`: files that show a finding of a model, and nothing else of it."""

import ast
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mlx_coverage.analyze.model import from_json
from mlx_coverage.cli import main
from mlx_coverage.registry.explanations import EXPLANATIONS
from mlx_coverage.registry.reasons import HIGHER_ORDER

EXAMPLES = Path(__file__).parents[2] / "examples"

MODEL = """\
import torch


@torch.library.custom_op("repro_test::opaque", mutates_args=())
def opaque(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    return x * scale


@opaque.register_fake
def _(x, scale=1.0):
    return torch.empty_like(x)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.ones(5, dtype=torch.float64))

    def forward(self, x):
        wide = x.double()
        ranked = torch.sort(wide.mT, dim=1, descending=True)[0]
        scaled = torch.ops.repro_test.opaque(x, 0.5)
        return ranked.reshape(x.shape[0], -1).float(), scaled, wide * self.weight


model = Model()
example_inputs = (torch.ones(4, 3, 5),)
dynamic_shapes = ({0: torch.export.Dim("n")},)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def write(finding: str, *options: str) -> dict[str, Any]:
    """The names of the written file, after it was run as a script."""
    assert main(["repro", finding, "-o", "found.py", *options]) == 0
    text = Path("found.py").read_text()
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "found.py", "exec"), scope)
    forward = next(n for n in ast.walk(ast.parse(text)) if getattr(n, "name", "") == "forward")
    assert isinstance(forward, ast.FunctionDef)
    return scope | {"text": text, "calls": len(forward.body) - 1}


def check(*options: str, code: int = 0) -> list[tuple[str, str]]:
    """What `check` finds in the written file."""
    assert main(["check", "found.py", "--json", "found.json", *options]) == code
    report = from_json(Path("found.json").read_text())
    findings = [f for method in report.methods for f in method.findings]
    reasons = [(f, reason) for f in findings for reason in (f.reason, *f.others)]
    found = [(count.op, reason.slug) for f, reason in reasons for count in f.ops]
    return [pair for pair in found if not pair[1].startswith("runtime/")]


def test_one_call_with_its_exact_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    found = write("model.py#aten.sort.default")
    assert "still so: aten.sort.default op/dtype" in capsys.readouterr().out
    assert found["calls"] == 1
    assert "torch.ops.aten.sort.default(permute, 1, True)" in found["text"].replace(
        "dim=", ""
    ).replace("descending=", "")
    (x,) = found["example_inputs"]
    assert (x.dtype, tuple(x.shape)) == (torch.float64, (4, 5, 3))
    assert found["dynamic_shapes"] == ({0: torch.export.Dim.AUTO},)
    # ExecuTorch has no kernel for what falls back here.
    assert check(code=3) == [("aten.sort.default", "op/dtype")]


def test_a_size_comes_with_what_it_is_the_size_of() -> None:
    found = write("model.py#aten.sym_size.int")
    assert 1 < found["calls"] <= 15
    assert ("aten.sym_size.int", "plan/only-neighbours-fall-back") in check()


def test_constants_stay_constants() -> None:
    found = write("model.py#aten.mul.Tensor")
    assert {name: b.dtype for name, b in found["model"].named_buffers()} == {
        "b_weight": torch.float64
    }
    assert len(found["example_inputs"]) == 1


def test_custom_op_brings_its_definition() -> None:
    found = write("model.py#repro_test.opaque.default")
    assert 'runpy.run_path("model.py")' in found["text"]
    assert "scale=0.5" in found["text"]


def test_strides_are_kept(folder: Path) -> None:
    text = (
        "import torch\n\n\nclass Model(torch.nn.Module):\n    def forward(self, x):\n"
        "        return torch.lgamma(x)\n\n\nmodel = Model()\n"
        "example_inputs = (torch.ones(6, 4).t(),)\n"
    )
    (folder / "strided.py").write_text(text)
    (x,) = write("strided.py#aten.lgamma.default")["example_inputs"]
    assert (x.shape, x.stride()) == ((4, 6), (1, 4))


def test_excluded_op() -> None:
    op = "repro_test.opaque.default"
    found = write(f"model.py#{op}", "--exclude", op)
    assert found["excluded"] == [op]


def test_example_of_a_data_dependent_shape(folder: Path) -> None:
    shutil.copy(EXAMPLES / "fallback.py", folder)
    write("fallback.py#aten.nonzero.default")
    assert check() == [("aten.nonzero.default", "op/data-dependent-shape")]


def test_findings_are_listed_with_the_ids_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repro", "model.py"]) == 0
    listed = re.findall(r"^model\.py#(finding-\S+)  (\S+)", capsys.readouterr().out, re.MULTILINE)
    assert main(["check", "model.py", "--html", "report.html"]) == 3  # an op without a kernel
    page = Path("report.html").read_text()
    assert "aten._to_copy.default" in {op for _, op in listed}
    assert all(f'id="{anchor}"' in page for anchor, _ in listed)
    anchor = next(anchor for anchor, op in listed if op == "aten._to_copy.default")
    assert "_to_copy" in write(f"model.py#{anchor}")["text"]


@pytest.mark.parametrize(
    ("finding", "says"),
    [
        ("branch.py#torch.ops.higher_order.cond", "cond has a graph of its own"),
        ("model.py#finding-none", "has no finding 'finding-none'; accepted: finding-"),
        ("missing.py#aten.sort.default", "there is no such file"),
    ],
)
def test_bad_input(
    folder: Path, finding: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "branch.py").write_text(EXPLANATIONS[HIGHER_ORDER].example.write())
    assert main(["repro", finding, "-o", "found.py"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not Path("found.py").exists()
