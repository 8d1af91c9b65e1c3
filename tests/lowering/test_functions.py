"""Every MLX function that an entry can record is one that the runtime can run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlx_coverage.registry
from mlx_coverage.lowering import functions, symbols
from mlx_coverage.registry.mx import _DTYPES
from mlx_coverage.runtime.functions import names

REGISTRY = Path(mlx_coverage.registry.__file__).parent
SOURCES = sorted([*(REGISTRY / "ops").glob("*.py"), REGISTRY / "evaluate.py"])


def find_attributes(tree: ast.AST, name: str = "mx") -> Iterator[str]:
    """Dotted names that start at `mx`, the longest of each chain."""
    inner: set[ast.AST] = set()
    for node in ast.walk(tree):  # outer attributes come before those they hold
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        parts, current = [], node
        while isinstance(current, ast.Attribute):
            parts.append(current.attr)
            inner.add(current)
            current = current.value
        if isinstance(current, ast.Name) and current.id == name:
            yield ".".join(reversed(parts))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_recordable_functions_have_a_row(source: Path) -> None:
    found = set(find_attributes(ast.parse(source.read_text(encoding="utf-8"))))
    recorded = {n for n in found if n not in _DTYPES and not n.startswith("host_")}
    assert recorded <= names().keys()


def test_operators_of_arrays_have_a_row() -> None:
    tree = ast.parse(Path(symbols.__file__).read_text(encoding="utf-8"))
    recorded = {
        node.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "_call"
        for node in ast.walk(call.args[0])
        if isinstance(node, ast.Constant)
    }
    assert len(recorded) > 20
    assert recorded <= names().keys()


def test_arithmetic_on_sizes_has_a_row() -> None:
    wanted = {f"host.{name}" for name in (*functions.ARITHMETIC, "size", "item")}
    assert wanted <= names().keys()


@pytest.mark.parametrize("name", [n for n in names() if not n.startswith("host.")])
def test_row_has_as_many_arguments_as_mlx(name: str) -> None:
    assert names()[name] == len(functions.read_signature(name).parameters)
