"""Signatures of MLX functions, read from MLX's own bindings.

The order of a payload call's arguments is the order of the Python signature, so it is
taken from `__nb_signature__` rather than written down a second time.
"""

import ast
import inspect
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import Parameter, Signature
from typing import Any

from mlx_coverage.registry import indexing, mx
from mlx_coverage.registry.dtypes import SCALAR_TYPES_BY_MLX_NAME
from mlx_coverage.registry.mx import import_mlx, keep_within

# Functions that nanobind overloads, in the one form that payloads use.
_FORMS = {
    "arange": "start: int | float, stop: int | float, step: int | float, dtype: Dtype",
    "array": "values: list, dtype: Dtype",
}

# The meaning of the `host.*` rows on sizes; those on arrays are `size` and `item`.
ARITHMETIC: dict[str, Callable[..., int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "neg": operator.neg,
    "min": min,
    "max": max,
    "within": keep_within,
}

# Dtypes print as `mlx.core.bool` where the attribute is `bool_`.
_CODES = {name.removesuffix("_"): code for name, code in SCALAR_TYPES_BY_MLX_NAME.items()}
_NAMES = {code: name for name, code in SCALAR_TYPES_BY_MLX_NAME.items()}


def encode_dtype(dtype: Any) -> int:
    """The `c10::ScalarType` number of an MLX dtype."""
    return _CODES[str(dtype).removeprefix("mlx.core.")]


def decode_dtype(code: int) -> Any:
    """The MLX dtype of a `c10::ScalarType` number."""
    return getattr(import_mlx(), _NAMES[code])


@cache
def find_function(name: str) -> Any:
    """The Python function of a payload name, such as `fast.rms_norm`.

    Raises:
        AttributeError: MLX has no such function.
    """
    if name.startswith("indexing."):
        return getattr(indexing, name.removeprefix("indexing."))
    function: Any = import_mlx()
    for part in name.split("."):
        function = getattr(function, part)
    return function


@cache
def read_signature(name: str) -> Signature:
    """The parameters of an MLX function without `stream`; annotations are text.

    Raises:
        AttributeError: MLX has no such function.
        TypeError: the function publishes no signature.
    """
    if name in _FORMS:
        return _parse(_FORMS[name], ())
    if name.startswith("indexing."):
        return inspect.signature(find_function(name))
    published = getattr(find_function(name), "__nb_signature__", None)
    if not published:
        raise TypeError(f"mlx.core.{name} publishes no signature, so it cannot be recorded")
    text, _, defaults = published[0]
    parameters = re.match(r"def \w+\((.*)\)(?: -> .*)?$", text, re.DOTALL)
    assert parameters is not None, text
    return _parse(parameters[1], defaults or ())


def bind(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument of a call by name, in signature order, defaults filled in.

    Raises:
        TypeError: the arguments do not fit MLX's signature.
    """
    if name == "arange":
        return _bind_arange(*args, **kwargs)
    if name == "array":
        return _bind_array(*args, **kwargs)
    bound = read_signature(name).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def call(name: str, values: Sequence[Any]) -> Any:
    """Call an MLX function with every argument in signature order, as payloads hold them."""
    function = mx.find_function(name)
    if name in _FORMS:
        return function(*values)
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for parameter, value in zip(read_signature(name).parameters.values(), values, strict=True):
        if parameter.kind is Parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is Parameter.KEYWORD_ONLY:
            keywords[parameter.name] = value
        else:
            positional.append(value)
    return function(*positional, **keywords)


def takes_scalar(name: str, parameter: str) -> bool:
    """Whether MLX turns a Python number given for the parameter into an array."""
    return "scalar" in str(read_signature(name).parameters[parameter].annotation)


def _parse(text: str, defaults: Sequence[Any]) -> Signature:
    # nanobind writes a default that has no literal as a backslash and its index.
    text = re.sub(r"\\(\d+)", r"_default(\1)", text)
    function = ast.parse(f"def f({text}): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    values: list[ast.expr | None] = [None] * (len(positional) - len(a.defaults))
    values += a.defaults
    parameters = [
        _parameter(item, value, Parameter.POSITIONAL_OR_KEYWORD, defaults)
        for item, value in zip(positional, values, strict=True)
    ]
    if a.vararg is not None:
        parameters.append(_parameter(a.vararg, None, Parameter.VAR_POSITIONAL, defaults))
    parameters += [
        _parameter(item, value, Parameter.KEYWORD_ONLY, defaults)
        for item, value in zip(a.kwonlyargs, a.kw_defaults, strict=True)
    ]
    return Signature([p for p in parameters if p.name != "stream"])


def _parameter(item: ast.arg, value: ast.expr | None, kind: Any, defaults: Sequence[Any]) -> Any:
    annotation = ast.unparse(item.annotation) if item.annotation else ""
    default = Parameter.empty if value is None else _evaluate(value, defaults)
    return Parameter(item.arg, kind, default=default, annotation=annotation)


def _evaluate(value: ast.expr, defaults: Sequence[Any]) -> Any:
    if isinstance(value, ast.Call):
        return defaults[ast.literal_eval(value.args[0])]
    if isinstance(value, ast.Name):  # a dtype, such as float32
        return getattr(import_mlx(), value.id)
    return ast.literal_eval(value)


def _bind_arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> dict[str, Any]:
    if stop is None:
        start, stop = 0, start
    if dtype is None:
        mlx = import_mlx()
        # MLX's own rule: a float anywhere gives float32, integers give int32.
        dtype = mlx.float32 if any(isinstance(v, float) for v in (start, stop, step)) else mlx.int32
    return {"start": start, "stop": stop, "step": step, "dtype": dtype}


def _bind_array(values: Any, dtype: Any = None) -> dict[str, Any]:
    mlx = import_mlx()
    return {"values": values, "dtype": mlx.array(values).dtype if dtype is None else dtype}
