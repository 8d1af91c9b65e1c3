"""Shape arithmetic that implementations share; every size may be dynamic."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from mlx_coverage.registry.mx import mx


def normalize_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front; a 0-d tensor has the dimension 0, as in torch."""
    return dim % max(rank, 1)


def normalize_bound(bound: int | None, size: int, missing: int) -> int:
    """A bound of a slice as a position in [0, size]; None stands for `missing`."""
    if bound is None:
        return missing
    if isinstance(bound, int) and type(bound) is not int:
        # The sign of a dynamic bound is data: floor division by 2**62 is -1 below zero, else 0.
        bound = bound - size * (bound // 2**62)
    elif bound < 0:
        bound = bound + size
    elif bound >= 2**62:  # torch's "to the end"
        return size
    return int_between(bound, 0, size)


def int_between(value: int, low: int, high: int) -> int:
    """`value` clamped to [low, high]."""
    clamped: int = mx.host_max(low, mx.host_min(value, high))
    return clamped


def slice_axis(a: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """`a[start:stop:step]` on one axis; bounds as `indexing.slice` takes them."""
    starts, stops, steps = [0] * a.ndim, list(a.shape), [1] * a.ndim
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return mx.indexing.slice(a, starts, stops, steps)


def along(a: Any, axis: int, rank: int) -> Any:
    """The 1-d array `a` shaped to lie on `axis` of `rank` dimensions."""
    return mx.reshape(a, [a.shape[0] if d == axis else 1 for d in range(rank)])


def expand_list(values: Sequence[Any] | int, count: int) -> list[Any]:
    """One number per spatial dimension: ATen lets a single one stand for all."""
    values = [values] if isinstance(values, int) else values
    return list(values) * count if len(values) == 1 else list(values)


def count_elements(shape: Sequence[int]) -> int:
    """The product of the sizes, where reshape cannot infer one (empty arrays)."""
    return math.prod(shape)


def is_same_size(one: Any, other: Any) -> bool:
    """Whether two sizes are known to be equal: dynamic ones are, if they are at all examples."""
    return bool(getattr(one, "witnesses", one) == getattr(other, "witnesses", other))


def place_outputs(size: int, count: int, factor: float | None, align_corners: bool) -> Any:
    """Where each element of a resized axis lies in the input: integers above and below the bar."""
    # Positions as fractions of integers, so that the weights are exact.
    index = mx.arange(0, count, 1, mx.int64)
    if align_corners:
        return index * (size - 1), mx.host_max(count - 1, 1)
    step, unit = (size, count) if factor is None or factor <= 0 else invert_factor(factor)
    return (index * 2 + 1) * step - unit, 2 * unit


def invert_factor(factor: float) -> tuple[int, int]:
    """1 / factor as a fraction whose terms leave room in 64 bits."""
    fraction = Fraction(factor).limit_denominator(2**15)
    return fraction.denominator, fraction.numerator
