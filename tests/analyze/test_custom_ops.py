"""One op by itself: how it decomposes, and what an entry of it would need."""

from pathlib import Path

import pytest
import torch

from mlx_coverage.analyze.custom_ops import find_op, inquire, write_skeleton
from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.inquiry import OpInquiry
from mlx_coverage.analyze.model import from_json
from mlx_coverage.cli import main
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.spec import Family

DEFINITIONS = """\
import torch

library = torch.library.Library("inquiry_test", "DEF")
library.define("composite(Tensor x, Tensor[] others, float scale=1.0) -> Tensor")
library.impl(
    "composite", lambda x, others, scale=1.0: torch.digamma(x + others[0]) * scale,
    "CompositeImplicitAutograd",
)
library.define("opaque(Tensor x, int[] sizes=[1, 2], str mode='a') -> (Tensor, Tensor)")
library.impl("opaque", lambda x, sizes=(), mode="a": (x.cos(), x.sin()), "CPU")
library.impl("opaque", lambda x, sizes=(), mode="a": (x.clone(), x.clone()), "Meta")
library.define("picky(Tensor x) -> Tensor")
library.impl("picky", lambda x: x.reshape(1, 2, 3), "CompositeImplicitAutograd")
library.define("writes(Tensor(a!) x) -> ()")
library.impl("writes", lambda x: None, "CPU")
library.impl("writes", lambda x: None, "Meta")


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.ops.inquiry_test.opaque(x.exp())[0] + 1


model = Model()
example_inputs = (torch.ones(2, 3),)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("definitions") / "definitions.py"
    path.write_text(DEFINITIONS)
    # Once: torch refuses to define a library twice. The op has no kernel in ExecuTorch.
    assert main(["check", str(path), "--json", str(path.with_suffix(".json"))]) == 3
    return path


@pytest.fixture
def look(file: Path) -> None:
    """The ops are registered."""


def ask(name: str) -> OpInquiry:
    return inquire(find_op(name), default_registry())


@pytest.mark.usefixtures("look")
def test_composite_op_is_what_it_decomposes_into() -> None:
    found = ask("inquiry_test::composite")
    assert (found.standing, found.decomposer) == ("none", "composite")
    parts = {part.op: (part.nodes, part.delegated) for part in found.parts}
    assert parts["aten.digamma.default"] == (1, 0)
    assert parts["aten.add.Tensor"] == (1, 1)
    (reason,) = next(p.reasons for p in found.parts if p.op == "aten.digamma.default")
    assert reason.startswith("op/")


@pytest.mark.usefixtures("look")
def test_op_that_takes_no_example() -> None:
    found = ask("inquiry_test.picky")
    assert found.parts == ()
    assert "takes none of the example calls" in found.problem


@pytest.mark.usefixtures("look")
def test_op_that_writes_into_its_argument() -> None:
    found = ask("inquiry_test.writes.default")
    assert "writes into an argument" in found.obstacles[0]
    assert found.skeleton == ""


def test_op_of_a_table_of_torchs() -> None:
    found = ask("aten.hardswish")
    assert found.decomposer in ("executorch", "torch")
    assert all(part.delegated == part.nodes for part in found.parts)
    assert found.skeleton == ""


@pytest.mark.usefixtures("look")
def test_skeleton_declares_the_op() -> None:
    op = torch.ops.inquiry_test.opaque.default
    scope: dict[str, object] = {}
    exec(compile(write_skeleton(op), "skeleton", "exec"), scope)
    family = Family("skeleton")
    scope["declare"](family)  # type: ignore[operator]
    (spec,) = family.specs
    assert spec.target is op
    assert f"# {spec.schema}\n" in write_skeleton(op)


@pytest.mark.usefixtures("look")
def test_finding_in_a_model_holds_a_declaration(file: Path) -> None:
    (method,) = from_json(file.with_suffix(".json").read_text()).methods
    fixes = {finding.op: finding.fixes for finding in method.findings}
    (fix,) = fixes["inquiry_test.opaque.default"]
    assert "torch.ops.inquiry_test.opaque.default" in fix.change
    assert not fix.verified


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("opaque", "names no op"),
        ("inquiry_test::missing", "torch knows no op inquiry_test::missing"),
        ("aten.add.Missing", "names no overload; accepted: aten.add.Tensor"),
        ("a b.c", "names no op"),
    ],
)
def test_unknown_op(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_op(name)


@pytest.mark.parametrize(
    "command",
    [
        ["check", "--op", "inquiry_test::missing"],
        ["check", "--op", "aten.cos", "--import", "no_such_package.ops"],
        ["check", "missing.py", "--op", "aten.cos"],
    ],
)
def test_bad_input(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_formats_of_an_inquiry(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", "--op", "aten.cos", "--output-format", "sarif"])
    assert stopped.value.code == 2
    assert "full, json" in capsys.readouterr().err
