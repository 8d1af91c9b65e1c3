"""Files and functions that fit on a few screens: what is longer is listed, and may only shrink."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "mlx_coverage", "tests", "tools")
SUFFIXES = (".py", ".cpp", ".h")
LONGEST_FILE = 500
LONGEST_FUNCTION = 60
# Tables of torch calls, one function for each subject: a row more is no complexity more.
TABLES = ROOT / "tests/op_conformance/probes"
# Lines that a file or a function had when the cap came; lower a figure when it has shrunk.
EXCEPTIONS = {
    "mlx_coverage/analyze/capture.py": 520,
    "mlx_coverage/analyze/model.py": 916,
    "mlx_coverage/runtime/src/delegate.cpp": 530,
    "tests/op_conformance/arguments.py": 559,
    "tests/op_conformance/probes/networks.py": 514,
    "tests/report/samples.py::make_report": 81,
    "tests/report/test_browser.py": 535,
}


def list_files() -> list[Path]:
    return [
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in SUFFIXES
    ]


def measure(path: Path) -> Iterator[tuple[str, int, int]]:
    """The file and each of its Python functions: name, lines and cap."""
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT))
    yield name, len(text.splitlines()), LONGEST_FILE
    if path.suffix != ".py" or path.is_relative_to(TABLES):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield f"{name}::{node.name}", node.end_lineno - node.lineno + 1, LONGEST_FUNCTION


def test_nothing_grows_past_the_caps() -> None:
    measured = [item for path in list_files() for item in measure(path)]
    assert len(measured) > 1000
    long = {name: size for name, size, cap in measured if size > cap}
    grown = {name: size for name, size in long.items() if size > EXCEPTIONS.get(name, 0)}
    assert not grown, "split these"
    assert EXCEPTIONS.keys() <= long.keys(), "take out what is short by now"


@pytest.mark.parametrize("lines", [LONGEST_FUNCTION, LONGEST_FUNCTION + 1])
def test_functions_are_measured_whole(
    lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "file.py").write_text("def f():\n" + "    pass\n" * (lines - 1))
    _, function = measure(tmp_path / "file.py")
    assert function == ("file.py::f", lines, LONGEST_FUNCTION)
