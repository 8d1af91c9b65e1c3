"""Importing `executorch.backends.mlx` where its wheel lacks the modules it generates.

The wheel for Linux holds the delegate's FlatBuffer schema, its generator and flatc, but not
what they make, so that the delegate cannot be imported. Here its own generator makes them
of its own schema, in a copy in the user's cache; site-packages stay as they are.
"""

import importlib
import importlib.util
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from mlx_coverage.analyze.failures import InputError, condense
from mlx_coverage.runtime import cache

_DELEGATE = "executorch.backends.mlx"
_SERIALIZATION = f"{_DELEGATE}.serialization"
_GENERATED = "mlx_graph_schema.py"
_GENERATOR = "generate.py"
_SCHEMA = "schema.fbs"
# The generator also fills these, for the delegate's C++ sources; the wheel has neither.
_TEMPLATES = ("MLXLoader.h.tmpl", "MLXLoader.cpp.tmpl")
_TIMEOUT_S = 120


def import_delegate() -> ModuleType:
    """The module `executorch.backends.mlx`.

    Raises:
        InputError: the installed ExecuTorch has no such delegate, or lacks what its
            generated modules are made of.
        RuntimeUnavailable: the cache cannot be written.
    """
    package = _find_executorch()
    folder = package / "backends" / "mlx" / "serialization"
    if not (folder.parent / "partitioner.py").is_file():
        raise _refuse("has none (executorch/backends/mlx)")
    if not (folder / _GENERATED).is_file():
        folder = generate_serialization(folder, package / "data" / "bin" / "flatc")
    try:
        with _redirect(_SERIALIZATION, folder):
            module = importlib.import_module(_DELEGATE)
    except Exception as error:
        raise _refuse(f"has one that cannot be imported ({condense(error)})") from error
    logging.getLogger(_DELEGATE).setLevel(logging.WARNING)  # it reports every program by itself
    return module


def generate_serialization(folder: Path, flatc: Path) -> Path:
    """A copy of the delegate's `serialization` package, in the cache, with all its modules.

    Args:
        folder: the package as installed: the generator and the schema.
        flatc: FlatBuffers' compiler.

    Raises:
        InputError: one of these is missing, or the generator fails.
        RuntimeUnavailable: the cache cannot be written.
    """
    for needed in (folder / _GENERATOR, folder / _SCHEMA, flatc):
        if not needed.is_file():
            raise _refuse(
                "has one without its generated modules, and no "
                f"{needed.relative_to(folder.parents[2])} to make them with"
            )
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    named = [part for path in sources for part in (path.name, path.read_bytes())]
    key = cache.hash_parts([*named, cache.identify(flatc)])
    target = cache.find_cache() / "executorch-mlx" / key / "mlx"
    cache.produce(target, lambda scratch: _generate(sources, flatc, scratch))
    return target / folder.name


def _generate(sources: Sequence[Path], flatc: Path, scratch: Path) -> None:
    copy = scratch / "serialization"
    copy.mkdir(parents=True)
    (scratch / "runtime").mkdir()  # for C++
    for template in _TEMPLATES:
        (copy / template).touch()
    for path in sources:
        shutil.copyfile(path, copy / path.name)
    command = [sys.executable, "-I", str(copy / _GENERATOR), "--flatc", str(flatc)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise _refuse(f"has one whose generator took over {_TIMEOUT_S} s") from error
    # The generator reports a failed flatc on its output only.
    if done.returncode or not list(copy.glob("_generated/*/*.py")):
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        said = condense(ValueError(lines[-1] if lines else ""))
        raise _refuse(f"has one whose generator failed ({said})")


class _Redirection(MetaPathFinder):
    """Finds one package in another folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package's; of any other, nothing."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            self._folder / "__init__.py",
            submodule_search_locations=[str(self._folder)],
        )


@contextmanager
def _redirect(name: str, folder: Path) -> Iterator[None]:
    # Once imported, the package finds its own modules by its `__path__`.
    finder = _Redirection(name, folder)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _find_executorch() -> Path:
    found = importlib.util.find_spec("executorch")
    places = list(found.submodule_search_locations or ()) if found else []
    for place in places:
        if (Path(place) / "backends").is_dir():
            return Path(place)
    raise InputError("ExecuTorch is not installed; `pip install executorch`")


def _refuse(what: str) -> InputError:
    return InputError(
        f"--target needs ExecuTorch's own MLX delegate, and the installed ExecuTorch {what}; "
        "install a release of executorch that has it, or leave --target out"
    )
