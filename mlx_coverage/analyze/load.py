"""A model named on the command line, as something that torch.export takes.

Accepted: ``path.py``, ``path.py::name``, ``package.module:name``, a saved ``.pt2`` and the
presets of `mlx_coverage.zoo`, ``zoo:NAME`` and ``zoo:NAME@small``. A name in a file may be

* an `ExportedProgram`;
* a `torch.nn.Module` with `example_inputs` beside it (and, where wanted, `example_kwargs`
  and `dynamic_shapes`);
* a function without required arguments, or a class, that returns one of these, or
  ``(module, args)``, ``(module, args, kwargs)``, ``(module, args, kwargs, dynamic_shapes)``;
* a dict from method names to any of these, or a function that returns one.

Without a name the first of `DEFAULT_NAMES` that the file defines is taken.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from mlx_coverage.analyze.failures import CaptureError, InputError, condense
from mlx_coverage.analyze.sources import locate_error
from mlx_coverage.registry import reasons

if TYPE_CHECKING:
    from mlx_coverage.zoo import Preset

DEFAULT_NAMES = ("model", "get_model", "make_model", "program", "get_program", "methods")
_FORMS = "path.py, path.py::name, package.module:name, a saved .pt2, or zoo:NAME"
_KINDS = (
    "an nn.Module with example_inputs beside it, an ExportedProgram, a function that returns "
    "(module, args, kwargs, dynamic_shapes), or a dict of methods"
)

# Of the names under which model files are imported.
MODULE_PREFIX = "_mlx_coverage_model_"


@dataclass(frozen=True)
class Exportable:
    """A module and the inputs that torch.export is to call it with."""

    module: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    dynamic_shapes: Any = None


Methods = Mapping[str, Exportable | ExportedProgram]


@contextmanager
def open_model(spec: str) -> Iterator[Methods]:
    """The methods of a model; while they are used, its folder can be imported from.

    Raises:
        InputError: the spec is not understood, or names something else than a model.
        CaptureError: the model's own code raises.
    """
    path, _, name = spec.partition("::")
    if spec.startswith("zoo:"):
        yield _load_preset(spec)
    elif path.endswith(".pt2"):
        yield {"forward": _load_archive(Path(path), name)}
    elif path.endswith(".py"):
        file = Path(path)
        if not file.is_file():
            raise InputError(f"{path}: there is no such file; accepted: {_FORMS}")
        with _importing_from(file.resolve().parent):
            yield _resolve(_import_file(file), path, name)
    else:
        module_name, colon, name = spec.partition(":")
        dotted = module_name.replace(".", "").replace("_", "")
        if not colon or not dotted.isalnum():
            raise InputError(f"{spec!r} names no model; accepted: {_FORMS}")
        with _importing_from(Path.cwd()):
            yield _resolve(_import_module(module_name), module_name, name)


def import_definitions(name: str) -> None:
    """Import a module for the ops that it registers.

    Args:
        name: `path.py` or `package.module`; the name of a model behind it is left out.

    Raises:
        InputError: there is no such module.
        CaptureError: its code raises.
    """
    path = name.partition("::")[0]
    if not path.endswith(".py"):
        with _importing_from(Path.cwd()):
            _import_module(name.partition(":")[0])
        return
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file; accepted: path.py or package.module")
    with _importing_from(Path(path).resolve().parent):
        _import_file(Path(path))


def find_preset(spec: str) -> tuple["Preset", bool]:
    """The preset that `zoo:NAME` names, and whether its small variant is meant.

    Raises:
        InputError: there is none, or what it is built with is not installed.
    """
    from mlx_coverage import zoo

    name, small, rest = spec.removeprefix("zoo:").partition(zoo.SMALL)
    if rest or name not in zoo.PRESETS:
        raise InputError(
            f"there is no preset {spec!r}; accepted: zoo:NAME, or zoo:NAME{zoo.SMALL} with "
            f"weights, NAME being one of {', '.join(zoo.PRESETS)}"
        )
    missing = zoo.PRESETS[name].find_missing()
    if missing:
        raise InputError(
            f"{spec} needs {' and '.join(missing)}; install it with pip install 'mlx-coverage[zoo]'"
        )
    return zoo.PRESETS[name], bool(small)


def _load_preset(spec: str) -> Methods:
    preset, small = find_preset(spec)
    methods = _run(spec, lambda: preset.make(small))
    return {method: Exportable(*parts) for method, parts in methods.items()}


def _load_archive(path: Path, name: str) -> ExportedProgram:
    if name:
        raise InputError(f"{path}::{name}: a .pt2 holds one program; leave out '::{name}'")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; accepted: {_FORMS}")
    try:
        return torch.export.load(path)
    except Exception as error:
        raise InputError(
            f"{path} is not a program that this torch can read ({condense(error)}); save it "
            "again with torch.export.save"
        ) from error


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    kept = _Kept(folder)
    sys.meta_path.insert(0, kept)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.meta_path.remove(kept)
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


class _Kept(MetaPathFinder):
    """Finds Python's own modules and what this package is built on beside no model.

    Many of them are imported when they are first needed, and a model's folder may hold files
    of the same names.
    """

    _NAMES = sys.stdlib_module_names | {"torch", "mlx", "executorch", "numpy", "mlx_coverage"}

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is outside of the folder; None for any other module."""
        if fullname not in self._NAMES:
            return None
        elsewhere = [place for place in sys.path if Path(place).resolve() != self._folder]
        return PathFinder.find_spec(fullname, elsewhere, target)


def _import_file(path: Path) -> ModuleType:
    # Under a name of ours, so that a file called torch.py or test.py shadows nothing.
    name = f"{MODULE_PREFIX}{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    loader = found.loader
    _run(path.name, lambda: loader.exec_module(module))
    return module


def _import_module(name: str) -> ModuleType:
    try:
        known = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        # That of a package above it: any other is one that the package's own code imports.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        known = False
    except ValueError:  # no name of a module, or one without a spec
        known = False
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _failed(name, error) from error
    if not known:
        raise InputError(
            f"there is no module {name!r}; accepted: {_FORMS}, the package being installed or "
            "below the working directory"
        )
    module = _run(name, lambda: importlib.import_module(name))
    assert isinstance(module, ModuleType)
    return module


def _run(what: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failed(what, error) from error


def _failed(what: str, error: BaseException) -> CaptureError:
    name = type(error).__name__
    sentence = condense(error).removeprefix(f"{name}: ")
    return CaptureError(
        "import", reasons.IMPORT_FAILED, f"{what} raised {name}: {sentence}", locate_error(error)
    )


def _resolve(module: ModuleType, where: str, name: str) -> Methods:
    if not name:
        name = next((n for n in DEFAULT_NAMES if hasattr(module, n)), "")
        if not name:
            raise InputError(
                f"{where} defines none of {', '.join(DEFAULT_NAMES)}; name the model: "
                f"{where}{'::' if where.endswith('.py') else ':'}NAME{_suggest(module)}"
            )
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            raise InputError(f"{where} has no name {name!r}{_suggest(module)}")
        value = getattr(value, part)
    return _read_methods(value, f"{where}::{name}", module)


def _suggest(module: ModuleType) -> str:
    names = [n for n, v in vars(module).items() if _is_model(v, module) and not n.startswith("_")]
    return f"; it defines {', '.join(names[:8])}" if names else ""


def _is_model(value: Any, module: ModuleType) -> bool:
    if isinstance(value, (torch.nn.Module, ExportedProgram)):
        return True
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _read_methods(value: Any, where: str, module: ModuleType) -> Methods:
    # An ExportedProgram can be called, to say that it cannot.
    if callable(value) and not isinstance(value, (torch.nn.Module, ExportedProgram)):
        value = _call_factory(value, where)
    if isinstance(value, Mapping):
        if not value or not all(isinstance(key, str) and key.isidentifier() for key in value):
            raise InputError(f"{where}: the methods of a dict need names; accepted: identifiers")
        return {name: _read_method(v, f"{where}[{name!r}]", module) for name, v in value.items()}
    return {"forward": _read_method(value, where, module)}


def _call_factory(factory: Callable[..., Any], where: str) -> Any:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise InputError(
            f"{where} needs arguments ({error}); accepted: a function without required arguments"
        ) from error
    except ValueError:
        pass  # a builtin without a signature: calling it tells
    return _run(where, factory)


def _read_method(value: Any, where: str, module: ModuleType) -> Exportable | ExportedProgram:
    if isinstance(value, ExportedProgram):
        return value
    if isinstance(value, torch.nn.Module):
        if not hasattr(module, "example_inputs"):
            raise InputError(
                f"{where} is an nn.Module without example inputs; define example_inputs (a "
                "tuple) beside it, or a function that returns (module, args)"
            )
        inputs = (module.example_inputs, getattr(module, "example_kwargs", None))
        value = (value, *inputs, getattr(module, "dynamic_shapes", None))
    if isinstance(value, tuple) and 2 <= len(value) <= 4 and isinstance(value[0], torch.nn.Module):
        args, kwargs, shapes = (*value[1:], None, None)[:3]
        if callable(args) and not isinstance(args, torch.Tensor):
            args = _call_factory(args, f"{where}: example_inputs")
        if isinstance(args, torch.Tensor):
            args = (args,)
        if not isinstance(args, Sequence) or isinstance(args, str):
            raise InputError(
                f"{where}: the example inputs are a {type(args).__name__}; accepted: a tuple"
            )
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise InputError(
                f"{where}: the example kwargs are a {type(kwargs).__name__}; accepted: a dict"
            )
        return Exportable(value[0], tuple(args), dict(kwargs or {}), shapes)
    raise InputError(f"{where} is a {_describe(value)}; accepted: {_KINDS}")


def _describe(value: Any) -> str:
    if isinstance(value, tuple):
        return f"tuple of {', '.join(type(item).__name__ for item in value) or 'nothing'}"
    return type(value).__name__
