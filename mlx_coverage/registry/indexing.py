"""MLX's indexing as functions: the eager meaning of the `indexing.*` rows.

Shapes are given per function; the C++ rows are in `runtime/src`.
"""

from collections.abc import Sequence
from typing import Any


def slice(a: Any, start: Sequence[int], stop: Sequence[int], strides: Sequence[int]) -> Any:
    """`a[start:stop:strides]` on every axis.

    Bounds are normalised; a negative stop comes only with a negative stride, where it
    means "past the first element".
    """
    return a[_slices(start, stop, strides)]


def slice_update(
    a: Any, update: Any, start: Sequence[int], stop: Sequence[int], strides: Sequence[int]
) -> Any:
    """A copy of `a` with `a[start:stop:strides] = update`."""
    result = a[...]
    result[_slices(start, stop, strides)] = update
    return result


def gather(a: Any, indices: Sequence[Any]) -> Any:
    """`a[indices[0], indices[1], ...]`: integer arrays, broadcast together, over the leading axes.

    Negative indices count from the end; bounds are not checked (MLX does not).
    """
    return a[tuple(indices)]


def scatter(a: Any, indices: Sequence[Any], updates: Any, mode: str = "set") -> Any:
    """A copy of `a` with `updates`, shaped as `gather`'s result, put at the indices.

    Args:
        a: array to put into.
        indices: integer arrays over the leading axes, as for `gather`.
        updates: new values.
        mode: set, add, multiply, maximum or minimum. With `set` and equal indices one
            of the updates wins, which one is not defined.
    """
    if a.size == 0:
        return a  # MLX's kernel divides by the size of a slice
    index = tuple(indices)
    if mode == "set":
        result = a[...]
        result[index] = updates
        return result
    return getattr(a.at[index], mode)(updates)


def _slices(start: Sequence[int], stop: Sequence[int], strides: Sequence[int]) -> tuple[Any, ...]:
    import builtins

    return tuple(
        builtins.slice(b, None if s < 0 and e < 0 else e, s)
        for b, e, s in zip(start, stop, strides, strict=True)
    )
