"""What an entry is, as a short text that changes when the entry does.

A measurement holds for one definition of an entry. Its fingerprint covers all that
decides a result: rules, samples, promotion, limitations, tolerance, and the source of
the implementation with every function and constant of the registry that it reaches.
Comments, docstrings, decorators and the layout of the source do not count: what a decorator
declares is among the fields.
"""

import ast
import dataclasses
import enum
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mlx_coverage.registry.evaluate import evaluate
from mlx_coverage.registry.spec import OpSpec

_PACKAGE = __name__.rpartition(".")[0]


def take_fingerprint(spec: OpSpec) -> str:
    """Sixteen hexadecimal digits; equal in every process for equal definitions."""
    fields = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
    text = "\n".join(_write([fields, evaluate], set()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(value: Any, seen: set[Any]) -> Iterator[str]:
    """The value in words that hold no address and no order of hashing."""
    if isinstance(value, FunctionType):
        yield from _write_function(value, seen)
    elif isinstance(value, functools.partial):
        yield from _write([value.func, value.args, value.keywords], seen)
    elif isinstance(value, enum.Enum):
        yield str(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__
        for field in dataclasses.fields(value):
            yield from _write(getattr(value, field.name), seen)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _write(key, seen)
            yield from _write(item, seen)
    elif isinstance(value, (set, frozenset)):
        yield from sorted("\n".join(_write(item, seen)) for item in value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _write(item, seen)
    elif isinstance(value, (str, int, float, type(None))):
        yield repr(value)
    elif hasattr(value, "__wrapped__"):  # functools.cache
        yield from _write(value.__wrapped__, seen)
    else:
        name = getattr(value, "__qualname__", "") or str(value)
        yield type(value).__name__ if " at 0x" in name else name


def _write_function(function: FunctionType, seen: set[Any]) -> Iterator[str]:
    if not _is_ours(function):
        yield f"{function.__module__}.{function.__qualname__}"
        return
    if function in seen:
        return
    seen.add(function)
    yield function.__qualname__
    yield _read_source(function)
    for cell in function.__closure__ or ():
        yield from _write(cell.cell_contents, seen)
    names = _list_names(function.__code__)
    for name in sorted(names):
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            reached = [getattr(value, n, None) for n in sorted(names)] if _is_ours(value) else []
            yield from _write([item for item in reached if _is_kept(item)], seen)
        elif _is_kept(value):
            yield from _write(value, seen)


def _read_source(function: FunctionType) -> str:
    source = textwrap.dedent(inspect.getsource(function))
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda, with part of the expression that it stands in
        return source
    (made,) = tree.body
    if not isinstance(made, ast.FunctionDef):
        return source
    made.decorator_list = []
    if ast.get_docstring(made) is not None:
        made.body = made.body[1:] or [ast.Pass()]
    return ast.unparse(made)


def _is_kept(value: Any) -> bool:
    """Whether it is code of ours or data; classes show in the values made of them."""
    kinds = (FunctionType, Mapping, frozenset, tuple, str, int, float)
    return isinstance(value, kinds) or (
        hasattr(value, "__wrapped__") and not isinstance(value, (type, ModuleType))
    )


def _list_names(code: CodeType) -> set[str]:
    inner = (item for item in code.co_consts if isinstance(item, CodeType))
    return set(code.co_names).union(*map(_list_names, inner))


def _is_ours(value: FunctionType | ModuleType) -> bool:
    name = value.__module__ if isinstance(value, FunctionType) else value.__name__
    return name.partition(".")[0] == _PACKAGE.partition(".")[0]
