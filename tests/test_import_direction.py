"""Imports point one way: registry <- lowering <- analyze <- report <- generation <- cli."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlx_coverage

ROOT = Path(mlx_coverage.__file__).parent
# What each layer may import of the others. `runtime` stands aside: it knows no layer,
# and registry alone imports its preloading of matrix products.
ALLOWED = {
    "registry": {"registry", "runtime"},
    "runtime": {"runtime"},
    "lowering": {"registry", "lowering", "runtime"},
    "zoo": {"zoo"},
    "analyze": {"registry", "lowering", "analyze", "runtime", "zoo"},
    "report": {"analyze", "report"},
    "generation": {"registry", "lowering", "analyze", "report", "runtime", "zoo", "generation"},
    "cli": {"registry", "lowering", "analyze", "report", "runtime", "generation", "cli"},
}
# The report renders a JSON anywhere: no torch, no mlx, nothing that needs them.
HEAVY = {"torch", "mlx", "executorch", "numpy"}


def list_modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def list_imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            module = node.module or ""
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def list_layers(imports: set[str]) -> set[str]:
    """The layers of the package among imported names."""
    parts = [name.split(".") for name in imports]
    return {
        rest[0]
        for package, *rest in parts
        if package == "mlx_coverage" and rest and (ROOT / rest[0]).is_dir()
    }


@pytest.mark.parametrize("layer", ALLOWED)
def test_layer_imports_only_what_lies_below(layer: str) -> None:
    for path in list_modules(layer):
        wrong = list_layers(list_imports(path)) - ALLOWED[layer]
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_layers_are_all_known() -> None:
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ALLOWED)


def reach(start: Path) -> set[str]:
    """Every outside package that a module imports, itself or through others of ours."""
    seen: set[Path] = set()
    outside: set[str] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        # The package's own __init__ imports lowering on first use only.
        if path in seen or path == ROOT / "__init__.py":
            continue
        seen.add(path)
        for name in list_imports(path):
            package, *rest = name.split(".")
            if package != "mlx_coverage":
                outside.add(package)
                continue
            for end in range(len(rest) + 1):
                stem = ROOT.joinpath(*rest[:end])
                waiting += [
                    p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.exists()
                ]
    return outside


def test_report_needs_no_torch_and_no_mlx() -> None:
    for path in list_modules("report"):
        wrong = reach(path) & HEAVY
        assert not wrong, f"{path.relative_to(ROOT)} reaches {sorted(wrong)}"


def test_the_core_and_the_command_line_need_no_extra() -> None:
    code = (
        "import sys, mlx_coverage.cli, mlx_coverage.generation, mlx_coverage.analyze.capture\n"
        "print({'transformers', 'tokenizers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
