"""Entries that an installed package brings: judged, lowered, run and tested as our own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mlx_coverage.analyze import capture
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Delegated
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.plugins import PluginError, load_families
from mlx_coverage.registry.rules import Rank
from mlx_coverage.registry.samples import draw
from mlx_coverage.registry.spec import Family, Registry
from tests.plugins import distribution

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    site = tmp_path_factory.mktemp("site")
    files = {
        "mylib/__init__.py": "",
        "mylib/ops.py": distribution.OPS,
        "mylib/entries.py": distribution.ENTRIES,
        "mylib/wrong.py": distribution.WRONG,
    }
    points = "mylib = mylib.entries:declare\nwrong = mylib.wrong:family"
    distribution.install(site, "my-lib", files, points)
    path = os.pathsep.join((str(site), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.plugins.session"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_everything_runs_in_one_delegate(session: dict[str, Any]) -> None:
    assert session["family"] == "my-lib"
    assert (session["delegates"], session["fallbacks"]) == (1, [])
    assert session["ops"] == [
        "aten.mul.Tensor",
        "aten.mul.Tensor",
        "mylib.softsign.default",
        "aten.tanh.default",
        "mlx_coverage.swish.default",
    ]
    assert session["largest_difference"] < 1e-5


def test_conformance_runs_on_the_entries(session: dict[str, Any]) -> None:
    names = ("mlx_coverage.swish.default", "mylib.softsign.default")
    dtypes = ("bfloat16", "float16", "float32")
    assert session["conformance"] == [f"{n}-{d}" for n in names for d in dtypes]


def test_a_wrong_entry_is_caught(session: dict[str, Any]) -> None:
    assert "not close" in session["wrong"]
    assert "op/dtype" in session["outside"]


def test_entry_is_listed(session: dict[str, Any]) -> None:
    code, out = session["listed"]
    assert code == 0
    assert "mylib.softsign.default" in out


def test_op_with_an_entry(session: dict[str, Any]) -> None:
    code, out = session["entry"]
    inquiry = json.loads(out)
    assert (code, inquiry["standing"], inquiry["decomposer"]) == (0, "full", "none")
    assert inquiry["entry"]["family"] == "my-lib"
    assert [(p["op"], p["nodes"], p["delegated"]) for p in inquiry["parts"]] == [
        ("mylib.softsign.default", 1, 1)
    ]
    assert inquiry["skeleton"] == ""


def test_op_with_a_decomposition(session: dict[str, Any]) -> None:
    _, out = session["decomposed"]
    inquiry = json.loads(out)
    assert (inquiry["standing"], inquiry["decomposer"]) == ("none", "registry")
    assert [(p["op"], p["nodes"], p["delegated"]) for p in inquiry["parts"]] == [
        ("aten.mul.Tensor", 2, 2)
    ]


def test_op_with_neither(session: dict[str, Any]) -> None:
    code, out = session["opaque"]
    assert code == 0
    assert out.startswith("mylib::opaque(Tensor x) -> Tensor\nRegistry: no entry\n")
    assert "Decomposes: no" in out
    assert "op/no-entry" in out
    assert "torch.ops.mylib.opaque.default" in out


BAD = {
    "does not import": ("import no_such_module\n", "fails with ModuleNotFoundError"),
    "raises": ("def declare(family):\n    raise KeyError('scale')\n", "fails with KeyError"),
    "names nothing": ("", "fails with AttributeError"),
    "names something else": ("declare = 3\n", "is a int; accepted: a Family"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_plugin_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, says = BAD[kind]
    module = f"bad_{kind.replace(' ', '_')}"
    distribution.install(tmp_path, "bad-lib", {f"{module}.py": text}, f"bad = {module}:declare")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError) as caught:
        list(load_families())
    sentence = str(caught.value)
    assert f"bad = {module}:declare of bad-lib {says}" in sentence
    assert "\n" not in sentence


def test_plugin_that_declares_an_op_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import torch\nfrom mlx_coverage.registry.spec import Family\n"
        "family = Family('twice')\nfamily.add(torch.ops.aten.cos.default, lambda self: self)\n"
    )
    distribution.install(tmp_path, "twice", {"twice_entries.py": text}, "t = twice_entries:family")
    monkeypatch.syspath_prepend(tmp_path)
    # Past the cache: the registry of this process stays as it is.
    with pytest.raises(PluginError, match=r"aten\.cos\.default is declared twice.*twice"):
        default_registry.__wrapped__()


def test_decomposition_takes_what_a_whole_entry_declines() -> None:
    @torch.library.custom_op("plugin_test::cube", mutates_args=())
    def cube(x: torch.Tensor) -> torch.Tensor:
        return x * x * x

    cube.register_fake(torch.empty_like)
    op = torch.ops.plugin_test.cube.default
    family = Family("both")
    family.decomposition(op)(lambda x: x * x * x)
    family.add(op, lambda x: x * x * x, rules=[Rank("x", 2, 2)], whole=True)

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            return cube(x), cube(y)

    given = Exportable(Model(), (torch.ones(2, 3), torch.ones(3)))
    registry = Registry([family])
    plans = capture.plan_methods(
        capture.export_methods({"forward": given}), lambda: MLXPartitioner(registry=registry)
    ).plans
    placements = plans["forward"].placements.items()
    found = [(name_target(canonicalize(n.target)), isinstance(p, Delegated)) for n, p in placements]
    assert sorted(found) == [
        ("aten.mul.Tensor", False), ("aten.mul.Tensor", False),
        ("plugin_test.cube.default", True),
    ]  # fmt: skip


def test_pattern_of_a_name_that_is_taken_raises() -> None:
    def scaled_rms_norm(x: torch.Tensor) -> torch.Tensor:
        return x

    default_registry()  # has one
    with pytest.raises(ValueError, match="the pattern scaled_rms_norm is declared twice"):
        Family("twice").pattern(scaled_rms_norm, samples=draw())(lambda x: x)


def test_decomposition_beside_an_entry_that_is_not_whole_raises() -> None:
    family = Family("both")
    op = torch.ops.aten.cos.default
    family.add(op, lambda self: self)
    family.decomposition(op)(lambda self: self)
    with pytest.raises(ValueError, match="whole=True"):
        Registry([family])


def test_decomposition_declared_twice_raises() -> None:
    families = [Family("one"), Family("two")]
    for family in families:
        family.decomposition(torch.ops.aten.cos.default)(lambda self: self)
    with pytest.raises(ValueError, match="declared twice"):
        Registry(families)


def test_decomposition_of_an_op_given_by_name() -> None:
    family = Family("named")
    family.decomposition("plugin_test::late")(lambda x: x + 1)
    registry = Registry([family])
    assert not registry.decompositions

    late = torch.library.custom_op("plugin_test::late", lambda x: x + 1, mutates_args=(),
                                   schema="(Tensor x) -> Tensor")  # fmt: skip
    assert list(registry.decompositions) == [late._opoverload]
