"""`[tool.mlx-coverage]` in pyproject.toml: defaults for options of the command line.

The nearest pyproject.toml with that table counts, from the working directory upwards. A
key is an option's name without its dashes; what the command line says goes before.
"""

import argparse
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlx_coverage.cli import arguments

FILE = "pyproject.toml"
TABLE = "mlx-coverage"


def _read_number(value: Any, folder: Path) -> float:
    del folder
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise argparse.ArgumentTypeError(f"{value!r} is no percentage; accepted: 0 to 100")
    return arguments.percentage(str(value))


def _read_text(value: Any, folder: Path) -> str:
    del folder
    if not isinstance(value, str):
        raise argparse.ArgumentTypeError(f"{value!r} is no string; accepted: a string")
    return value


def _read_path(value: Any, folder: Path) -> str:
    # A path in a file is relative to that file.
    return str(folder / _read_text(value, folder))


def _read_format(value: Any, folder: Path) -> str:
    return arguments.output_format(_read_text(value, folder))


def _read_list(value: Any, folder: Path) -> list[str]:
    if not isinstance(value, list):
        raise argparse.ArgumentTypeError(f"{value!r} is no list; accepted: a list of strings")
    return [_read_text(item, folder) for item in value]


def _read_gates(value: Any, folder: Path) -> list[str]:
    return arguments.gates(",".join(_read_list(value, folder)))


def _read_reports(value: Any, folder: Path) -> list[tuple[str, str]]:
    reports = [arguments.report(item) for item in _read_list(value, folder)]
    return [(form, str(folder / path)) for form, path in reports]


KEYS: Mapping[str, Callable[[Any, Path], Any]] = {
    "baseline": _read_path,
    "exclude": _read_list,
    "fail-on": _read_gates,
    "fail-under": _read_number,
    "output-format": _read_format,
    "report": _read_reports,
}


def apply_settings(args: argparse.Namespace) -> None:
    """Fill in the options of a command that the command line left open.

    Raises:
        InputError: the table has an unknown key, or a value that the option refuses.
    """
    if args.no_settings:
        return
    for key, value in read_settings(Path.cwd()).items():
        name = key.replace("-", "_")
        if hasattr(args, name) and not getattr(args, name) and getattr(args, name) != 0:
            setattr(args, name, value)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings that hold in a folder, by key.

    Raises:
        InputError: as for `apply_settings`, or the file is not TOML.
    """
    for parent in (folder, *folder.parents):
        path = parent / FILE
        table = _read_table(path) if path.is_file() else None
        if table is not None:
            return {key: _read_value(path, key, value) for key, value in table.items()}
    return {}


def _read_table(path: Path) -> dict[str, Any] | None:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _refuse(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    table = content.get("tool", {}).get(TABLE)
    if table is None or isinstance(table, dict):
        return table
    raise _refuse(f"{path}: [tool.{TABLE}] is no table; accepted keys: {', '.join(KEYS)}")


def _read_value(path: Path, key: str, value: Any) -> Any:
    if key not in KEYS:
        raise _refuse(f"{path}: [tool.{TABLE}] has no key {key!r}; accepted: {', '.join(KEYS)}")
    try:
        return KEYS[key](value, path.parent)
    except argparse.ArgumentTypeError as error:
        raise _refuse(f"{path}: [tool.{TABLE}] {key}: {error}") from error


def _refuse(sentence: str) -> Exception:
    from mlx_coverage.analyze.failures import InputError

    return InputError(sentence)
