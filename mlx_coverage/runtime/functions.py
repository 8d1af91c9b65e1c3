"""The functions that the runtime can run, read from its sources: no compiler needed."""

import re
from functools import cache
from pathlib import Path
from types import MappingProxyType

SOURCES = Path(__file__).parent / "src"

# Every row of the table opens so, on a line of its own.
_ROW = re.compile(r'^ +\{"(?P<name>[a-z0-9_.]+)", (?P<arity>\d+),', re.MULTILINE)


@cache
def names() -> MappingProxyType[str, int]:
    """Function names and their numbers of arguments, sorted by name."""
    rows = {
        match["name"]: int(match["arity"])
        for source in SOURCES.glob("functions_*.cpp")
        for match in _ROW.finditer(source.read_text(encoding="utf-8"))
    }
    return MappingProxyType(dict(sorted(rows.items())))
