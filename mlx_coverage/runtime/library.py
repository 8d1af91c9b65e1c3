"""The loaded runtime library, through ctypes."""

import ctypes
import os
import threading
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

from mlx_coverage.runtime import blas
from mlx_coverage.runtime.build import build
from mlx_coverage.runtime.errors import OptionRefused, RuntimeUnavailable

_lock = threading.Lock()
_library: ctypes.CDLL | None = None


def load(verbose: bool = False) -> None:
    """Build the runtime if need be and register it with ExecuTorch, once per process.

    Args:
        verbose: say on stderr what is being compiled.

    Raises:
        RuntimeUnavailable: it cannot be built, or not loaded beside the libraries that
            are loaded already.
    """
    library = _open(verbose)
    if library.mlx_coverage_register() != 0:
        raise RuntimeUnavailable(f"The runtime does not load: {last_error()}")


def is_available() -> bool:
    """Whether `load` succeeds; builds the runtime if it is not in the cache."""
    try:
        load()
    except RuntimeUnavailable:
        return False
    return True


def device() -> Literal["cpu", "gpu"]:
    """Where programs run: what MLX has, unless an option or the environment says other.

    Raises:
        RuntimeUnavailable: the runtime cannot be built or loaded.
    """
    return "gpu" if _open().mlx_coverage_device() == b"gpu" else "cpu"


def set_options(
    *,
    device: Literal["auto", "cpu", "gpu"] | None = None,
    compile: bool | Literal["auto"] | None = None,
    zero_copy: bool | None = None,
    profile: bool | None = None,
    max_array_bytes: int | None = None,
) -> None:
    """Change options of the runtime for the whole process; None leaves one as it is.

    Args:
        device: where programs run; only before the first program is loaded.
            Environment: MLX_COVERAGE_DEVICE.
        compile: run programs under `mx::compile` where they allow it; "auto" does on a
            GPU. Environment: MLX_COVERAGE_COMPILE, 0 or 1.
        zero_copy: read inputs and weights in place where the device can.
        profile: evaluate calls that ExecuTorch traces (ETDump) step by step, each an event.
        max_array_bytes: refuse programs that make a larger array.

    Raises:
        OptionRefused: the value is not accepted, or comes too late.
        RuntimeUnavailable: the runtime cannot be built or loaded.
    """
    given: dict[str, object] = {
        "device": device,
        "compile": compile,
        "zero_copy": zero_copy,
        "profile": profile,
        "max_array_bytes": max_array_bytes,
    }
    library = _open()
    for name, value in given.items():
        if value is None:
            continue
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if library.mlx_coverage_set_option(name.encode(), text.encode()) != 0:
            raise OptionRefused(last_error())


def last_error() -> str:
    """The sentence of the runtime's last failure on this thread; empty without one."""
    return str(_open().mlx_coverage_last_error().decode(errors="replace"))


def counter(name: str) -> int:
    """A count since the process started; the names are in `src/mlx_coverage.h`."""
    value = int(_open().mlx_coverage_counter(name.encode()))
    if value < 0:
        raise KeyError(name)
    return value


def list_functions() -> dict[str, int]:
    """The function table that was compiled in: names and numbers of arguments."""
    lines = _open().mlx_coverage_functions().decode().splitlines()
    return {name: int(arity) for name, arity in (line.split() for line in lines)}


def _open(verbose: bool = False) -> ctypes.CDLL:
    global _library
    with _lock:
        if _library is None:
            _library = _open_library(verbose)
        return _library


def _open_library(verbose: bool) -> ctypes.CDLL:
    path = build(verbose)
    # Seen on Ubuntu 24.04: a torch that comes after libexecutorch ends the process.
    if find_spec("torch") is not None:
        import_module("torch")
    # Before libmlx comes in as a dependency of ours.
    blas.preload()
    try:
        library = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        raise RuntimeUnavailable(f"The runtime does not load: {error}.") from error
    for name in ("last_error", "device", "functions", "mlx_version_built", "mlx_version_loaded"):
        getattr(library, f"mlx_coverage_{name}").restype = ctypes.c_char_p
    library.mlx_coverage_counter.restype = ctypes.c_int64
    return library
