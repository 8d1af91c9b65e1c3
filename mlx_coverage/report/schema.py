"""The JSON Schema of a report, derived from the dataclasses and their docstrings."""

import dataclasses
import inspect
import json
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mlx_coverage.analyze import contrast
from mlx_coverage.analyze.contrast import Contrast
from mlx_coverage.analyze.model import SCHEMA_VERSION, CoverageReport

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TITLES: Mapping[type, str] = {CoverageReport: "report", Contrast: "contrast"}
_VERSIONS: Mapping[type, int] = {
    CoverageReport: SCHEMA_VERSION,
    Contrast: contrast.SCHEMA_VERSION,
}
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
_ENTRY = re.compile(r"^    (?P<names>\w+(?:, \w+)*): (?P<text>.*)$")


def make_schema(kind: type = CoverageReport) -> dict[str, Any]:
    """The schema; objects are closed, and every field is there.

    Args:
        kind: `CoverageReport`, or `Contrast` for two of them side by side.
    """
    definitions: dict[str, Any] = {}
    _describe_class(kind, definitions)
    document = definitions.pop(kind.__name__)
    title = f"mlx-coverage {_TITLES[kind]}, schema {_VERSIONS[kind]}"
    head = {"$schema": DIALECT, "title": title}
    return {**head, **document, "$defs": dict(sorted(definitions.items()))}


def render_schema(kind: type = CoverageReport) -> str:
    """The schema as JSON text: docs/report.schema.json, docs/contrast.schema.json."""
    return json.dumps(make_schema(kind), indent=2, ensure_ascii=False) + "\n"


def _describe_class(kind: Any, definitions: dict[str, Any]) -> None:
    if kind.__name__ in definitions:
        return
    summary, fields = read_docstring(kind)
    definitions[kind.__name__] = {}
    properties = {}
    for name, hint in get_type_hints(kind).items():
        text = {"description": fields[name]} if name in fields else {}
        properties[name] = {**_describe_type(hint, definitions), **text}
    if kind in _VERSIONS:
        properties["schema_version"] = {"const": _VERSIONS[kind]}
    definitions[kind.__name__] = {
        "description": summary,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _describe_type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(hint):
        _describe_class(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}  # type: ignore[union-attr]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return {"type": "array", "items": _describe_type(arguments[0], definitions)}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is UnionType and any(map(dataclasses.is_dataclass, arguments)):
        return {"anyOf": [_describe_type(argument, definitions) for argument in arguments]}
    if origin is UnionType:
        return {"type": [_TYPES[argument] for argument in arguments]}
    return {"type": _TYPES[hint]}


def read_docstring(kind: type) -> tuple[str, dict[str, str]]:
    """What a dataclass says of itself, and of each attribute."""
    head, _, tail = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")
    fields: dict[str, str] = {}
    names: list[str] = []
    for line in tail.splitlines():
        entry = _ENTRY.match(line)
        if entry is not None:
            names = entry["names"].split(", ")
            fields |= dict.fromkeys(names, entry["text"])
        elif line.strip():
            fields |= {name: f"{fields[name]} {line.strip()}" for name in names}
    return " ".join(head.split()), fields
