"""Reductions and scans of many numbers on a CPU, where MLX adds float32 one after another.

Of 25 million numbers that loses 7 %. The functions here have the names and parameters of
`mlx.core` and are as exact on long axes; `runtime/src/accumulation.cpp` does the same in a program.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

LONG = 1024  # the most elements that one loop adds in float32
PART = 64  # the elements of a part

Axes = int | tuple[int, ...] | list[int] | None


def list_functions() -> Mapping[str, Callable[..., Any]]:
    """The functions by the names that programs call them by."""
    import mlx.core as mx

    return {
        "sum": partial(_reduce, mx.sum),
        "logsumexp": partial(_reduce, mx.logsumexp),
        "mean": _mean,
        "softmax": _softmax,
        **{name: partial(_widen, getattr(mx, name)) for name in ("prod", "std", "var")},
        **{name: partial(_scan, getattr(mx, name)) for name in ("cumsum", "cumprod")},
        **{f"cumulative_{name}": partial(_scan, getattr(mx, f"cum{name}")) for name in _SCANS},
        "logcumsumexp": partial(_scan, mx.logcumsumexp),
        "fast.rms_norm": _rms_norm,
        "fast.layer_norm": _layer_norm,
    }


_SCANS = ("sum", "prod")


def _list_axes(a: Any, axis: Axes) -> list[int]:
    axes = range(a.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    return sorted(i % a.ndim for i in axes)


def _is_long(a: Any, axis: Axes) -> bool:
    import mlx.core as mx

    if mx.default_device() != mx.Device(mx.cpu) or a.dtype != mx.float32 or not a.size:
        return False
    return _count(a, axis) > LONG


def _count(a: Any, axis: Axes) -> int:
    return math.prod(a.shape[i] for i in _list_axes(a, axis))


def _in_float64(function: Callable[..., Any], a: Any, *args: Any, **kwargs: Any) -> Any:
    import mlx.core as mx

    return function(a.astype(mx.float64), *args, **kwargs).astype(mx.float32)


def _widen(function: Any, a: Any, axis: Axes = None, *rest: Any, **named: Any) -> Any:
    compute = partial(_in_float64, function) if _is_long(a, axis) else function
    return compute(a, axis, *rest, **named)


def _scan(function: Any, a: Any, axis: int | None = None, dtype: Any = None, **rest: Any) -> Any:
    a = a if dtype is None else a.astype(dtype)
    compute = partial(_in_float64, function) if _is_long(a, axis) else function
    return compute(a, axis, **rest)


def _reduce(function: Any, a: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """A reduction of which parts may be reduced first, and then their results.

    Within short parts in float32, which needs no copy of the array; between them in float64.
    """
    if not _is_long(a, axis):
        return function(a, axis, keepdims)
    axes = _list_axes(a, axis)
    return _in_float64(function, _reduce_within(function, a, axes), axes, keepdims)


def _reduce_within(function: Any, a: Any, axes: list[int]) -> Any:
    """The last axes are reduced whole, up to PART elements in all, the one before in parts."""
    import mlx.core as mx

    part, whole, axes = PART, [], list(axes)
    while axes and a.shape[axes[-1]] <= part:
        whole.append(axes.pop())
        part //= a.shape[whole[-1]]
    if not axes or part == 1:
        return function(a, whole, True) if whole else a
    axis = axes[-1]
    even = a.shape[axis] // part * part
    start, rest = mx.split(a, [even], axis)
    cut = mx.unflatten(start, axis, (-1, part))
    reduced = function(cut, [axis + 1, *(i + 1 for i in whole)], True).squeeze(axis + 1)
    if even == a.shape[axis]:
        return reduced
    return mx.concatenate([reduced, function(rest, [axis, *whole], True)], axis)


def _mean(a: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    import mlx.core as mx

    if not _is_long(a, axis):
        return mx.mean(a, axis, keepdims)
    return _reduce(mx.sum, a, axis, keepdims) / _count(a, axis)


def _softmax(a: Any, axis: Axes = None, *, precise: bool = False) -> Any:
    import mlx.core as mx

    if not _is_long(a, axis):
        return mx.softmax(a, axis, precise=precise)
    powers = mx.exp(a - mx.max(a, axis, True))
    return powers / _reduce(mx.sum, powers, axis, True)


def _normalize(x: Any, eps: float) -> Any:
    import mlx.core as mx

    return x * mx.rsqrt(_mean(mx.square(x), -1, True) + eps)


def _rms_norm(x: Any, weight: Any, eps: float) -> Any:
    import mlx.core as mx

    wide = x.astype(mx.float32)
    if not x.ndim or not _is_long(wide, -1):
        return mx.fast.rms_norm(x, weight, eps)
    normal = _normalize(wide, eps).astype(x.dtype)
    return normal if weight is None else normal * weight


def _layer_norm(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    import mlx.core as mx

    wide = x.astype(mx.float32)
    if not x.ndim or not _is_long(wide, -1):
        return mx.fast.layer_norm(x, weight, bias, eps)
    normal = _normalize(wide - _mean(wide, -1, True), eps).astype(x.dtype)
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias
