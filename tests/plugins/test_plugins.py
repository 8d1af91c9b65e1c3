"""Entries that an installed package brings: judged, lowered, run and tested as our own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.plugins import PluginError, load_families
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
    }
    distribution.install(site, "my-lib", files, "mylib = mylib.entries:declare")
    path = os.pathsep.join((str(site), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.plugins.session"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_entry_and_decomposition_run_in_one_delegate(session: dict[str, Any]) -> None:
    assert session["family"] == "my-lib"
    assert (session["delegates"], session["fallbacks"]) == (1, [])
    assert session["largest_difference"] < 1e-5


def test_conformance_runs_on_the_entry(session: dict[str, Any]) -> None:
    dtypes = ("bfloat16", "float16", "float32")
    assert session["conformance"] == [f"mylib.softsign.default-{dtype}" for dtype in dtypes]


def test_entry_is_listed(session: dict[str, Any]) -> None:
    code, out, _ = session["ops"]
    assert code == 0
    assert "mylib.softsign.default" in out


def test_op_with_an_entry(session: dict[str, Any]) -> None:
    code, out, _ = session["entry"]
    inquiry = json.loads(out)
    assert (code, inquiry["standing"], inquiry["decomposer"]) == (0, "full", "none")
    assert inquiry["entry"]["family"] == "my-lib"
    assert [(p["op"], p["nodes"], p["delegated"]) for p in inquiry["parts"]] == [
        ("mylib.softsign.default", 1, 1)
    ]
    assert inquiry["skeleton"] == ""


def test_op_with_a_decomposition(session: dict[str, Any]) -> None:
    _, out, _ = session["decomposed"]
    inquiry = json.loads(out)
    assert (inquiry["standing"], inquiry["decomposer"]) == ("none", "registry")
    assert [(p["op"], p["nodes"], p["delegated"]) for p in inquiry["parts"]] == [
        ("aten.mul.Tensor", 2, 2)
    ]


def test_op_with_neither(session: dict[str, Any]) -> None:
    code, out, _ = session["opaque"]
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
