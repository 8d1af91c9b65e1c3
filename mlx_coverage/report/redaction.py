"""Remove source text and folders from a report, so that it may be shown to others."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from mlx_coverage.analyze.model import CoverageReport, Source, SourceFile, Suppression

T = TypeVar("T")

# An absolute path inside a sentence.
_ABSOLUTE = re.compile(r"(?<![\w./\\<])(?:[A-Za-z]:)?(?:[/\\][\w.+@~-]+){2,}")
# Fields with sentences or names in which a path may stand.
_PROSE = ("model", "via", "missing", "sentence", "evidence", "problem", "remarks")


def hide_source(report: T) -> T:
    """The report, or two side by side, without any line of the model's source, comments included.

    Places (file and line) stay, and so do sentences about the model.
    """
    empty: dict[str, Any] = {"code": "", "why": "", "files": ()}

    def change(name: str, value: Any) -> Any:
        if name == "missing" and isinstance(value, tuple):
            return (*value, "source lines: left out on request")
        # Whether a comment accepts a finding stays known; its words do not.
        return "" if name == "allowed" and value else empty.get(name, value)

    return _rebuild(report, change)


def hide_folders(report: T) -> T:
    """The report, or two side by side, with every path of the model's own cut down to a name.

    Different files of one name stay apart: the second becomes `name (2)`. Paths within
    installed packages, which begin with the package, stay. So do lines of source; `hide_source`
    takes them out.
    """
    names = _shorten(set(filter(None, _list_paths(report))))
    known = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))

    def cut(text: str) -> str:
        text = known.sub(lambda match: names[match[0]], text) if names else text
        return _ABSOLUTE.sub(lambda match: _name(match[0]), text)

    def change(name: str, value: Any) -> Any:
        if name == "file" and value is not None:
            return names.get(value, value)
        return cut(value) if name in _PROSE and isinstance(value, str) else value

    return _rebuild(report, change)


def _list_paths(value: Any) -> Iterator[str | None]:
    if isinstance(value, CoverageReport):
        yield value.model.partition("::")[0]
    if isinstance(value, SourceFile):
        yield value.file if value.own else None
    elif isinstance(value, (Source, Suppression)):
        yield value.file
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _list_paths(getattr(value, field.name))
    elif isinstance(value, tuple) and not (value and isinstance(value[0], (int, str))):
        for item in value:
            yield from _list_paths(item)


def _shorten(paths: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for path in sorted(paths):
        name, number = _name(path), 1
        while name in names.values():
            number += 1
            name = f"{_name(path)} ({number})"
        names[path] = name
    return names


def _name(path: str) -> str:
    return re.split(r"[/\\]", path)[-1] or path


def _rebuild(value: T, change: Callable[[str, Any], Any], name: str = "") -> T:
    """A copy in which `change` has seen every field, its parts before itself."""
    new: Any = value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field.name for field in dataclasses.fields(value) if field.init)
        new = type(value)(**{f: _rebuild(getattr(value, f), change, f) for f in fields})
    elif isinstance(value, tuple) and value and not isinstance(value[0], int):
        new = tuple(_rebuild(item, change, name) for item in value)
    rebuilt: T = change(name, new) if name else new
    return rebuilt
