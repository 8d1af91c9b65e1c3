"""`mlx.core` as implementations see it: the real thing, or a recorder of it.

Outside a recording, `mx.add` *is* `mlx.core.add`. Inside `recording(recorder)`, every
call goes to the recorder, which keeps symbolic arrays. Importing this module does not
import mlx: analysis needs none.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, cached_property, partial
from operator import attrgetter
from types import ModuleType
from typing import Any, Protocol


class Recorder(Protocol):
    """What `recording` needs of a recorder."""

    def record(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Record a call of the MLX function `name` and return its symbolic results."""
        ...


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Send every `mx` call inside the block to `recorder`."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def import_mlx() -> ModuleType:
    """`mlx.core`, imported after fast matrix products are prepared.

    Raises:
        ImportError: mlx, or its backend for this machine, is not installed.
    """
    from mlx_coverage.runtime import blas

    blas.preload()
    import mlx.core

    module: ModuleType = mlx.core
    return module


@cache
def find_function(name: str) -> Any:
    """What computes `name`, such as `fast.rms_norm`: MLX, but for long axes and for indexing.

    Raises:
        AttributeError: MLX has no such function.
    """
    from mlx_coverage.registry import accumulation, indexing

    if name.startswith("indexing."):
        return getattr(indexing, name.removeprefix("indexing."))
    exact = accumulation.list_functions().get(name)
    function = attrgetter(name)(import_mlx()) if exact is None else exact
    # Linear algebra runs on the CPU only, whatever the default device is.
    return partial(function, stream=import_mlx().cpu) if name.startswith("linalg.") else function


class _Functions:
    """A namespace of MLX functions by name, `mx` itself, `mx.fast`, `mx.fft`, `mx.linalg`."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    @cached_property
    def _module(self) -> Any:
        module: Any = import_mlx()
        for part in self._prefix.split(".")[:-1]:
            module = getattr(module, part)
        return module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        # Indexing as functions, because Python's brackets cannot be recorded by name.
        if not self._prefix and name in ("fast", "fft", "linalg", "indexing"):
            value: Any = _Functions(f"{name}.")
        elif name in _DTYPES:
            value = getattr(self._module, name)
        else:
            value = self._wrap(name)
        setattr(self, name, value)
        return value

    def _wrap(self, name: str) -> Callable[..., Any]:
        full_name = self._prefix + name

        def function(*args: Any, **kwargs: Any) -> Any:
            recorder = _recorder.get()
            if recorder is not None:
                return recorder.record(full_name, args, kwargs)
            return self._function(name)(*args, **kwargs)

        function.__name__ = function.__qualname__ = full_name
        return function

    def _function(self, name: str) -> Any:
        return _HOST[name] if name in _HOST else find_function(self._prefix + name)


def keep_within(value: int, low: int, high: int) -> int:
    """`value`, where it lies in [low, high].

    Raises:
        ValueError: it does not.
    """
    if not low <= value <= high:
        raise ValueError(f"expected a position from {low} to {high}, came {value}.")
    return value


# Functions on host numbers: sizes may be dynamic, which Python's min and max would compare.
_HOST: dict[str, Callable[..., Any]] = {
    "host_min": min,
    "host_max": max,
    "host_item": lambda array: array.item(),
    "host_within": keep_within,
}

_DTYPES = frozenset(
    "bool_ uint8 uint16 uint32 uint64 int8 int16 int32 int64 "
    "float16 bfloat16 float32 float64 complex64 inf nan pi e newaxis".split()
)

mx: Any = _Functions()
