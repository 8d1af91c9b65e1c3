"""The loaded runtime library, through ctypes."""

import ctypes
import os
import threading
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

from mlx_coverage.runtime import blas
from mlx_coverage.runtime.build import build
from mlx_coverage.runtime.errors import OptionRefused, RuntimeUnavailable, SessionError

_SESSION_ARGUMENTS: dict[str, list[object]] = {
    "copy": [ctypes.c_int64, ctypes.c_int64],
    "save": [ctypes.c_int64, ctypes.c_char_p, ctypes.c_char_p],
    "load": [ctypes.c_int64, ctypes.c_char_p],
}

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
    cache_bytes: int | None = None,
) -> None:
    """Change options of the runtime for the whole process; None leaves one as it is.

    Args:
        device: where programs run; only before the first program is loaded.
            Environment: MLX_COVERAGE_DEVICE.
        compile: run programs that are loaded from now on under `mx::compile`, whole or in
            parts; "auto" does on a GPU. Environment: MLX_COVERAGE_COMPILE, 0 or 1.
        zero_copy: read inputs and weights in place where the device can.
        profile: evaluate calls that ExecuTorch traces (ETDump) step by step, each an event.
        max_array_bytes: refuse programs that make a larger array.
        cache_bytes: how much freed memory MLX keeps for later arrays; 256 MiB on a GPU and
            MLX's own limit on a CPU, unless set here, by MLX_COVERAGE_CACHE_BYTES, or by
            ExecuTorch's load-time option `cache_bytes`.

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
        "cache_bytes": cache_bytes,
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


class Session:
    """One value of the state of loaded programs: calls in a `with` block of it read and write it.

    A program that is loaded once serves any number of sessions with one copy of its weights. A
    session keeps the state of one program; calls outside of every session have a state of their
    own. It is freed by `close`, or with the object.

    Raises:
        RuntimeUnavailable: the runtime cannot be built or loaded.
    """

    def __init__(self) -> None:
        self._library = _open()
        self._number = int(self._library.mlx_coverage_open_session())
        self._outer: list[int] = []
        if self._number < 0:
            raise SessionError(last_error())

    def __enter__(self) -> "Session":
        self._outer.append(int(self._library.mlx_coverage_current_session()))
        self._call("use")
        return self

    def __exit__(self, *error: object) -> None:
        self._library.mlx_coverage_use_session(self._outer.pop())

    def reset(self) -> None:
        """Start the state afresh, as in a program just loaded."""
        self._call("reset")

    def copy(self) -> "Session":
        """A session with the same state: arrays are shared until one of the two writes to them."""
        other = Session()
        self._call("copy", other._number)
        return other

    def assign(self, other: "Session") -> None:
        """Take over the state of another session, which keeps it as well."""
        other._call("copy", self._number)

    def save(self, path: str | os.PathLike[str], note: str = "") -> None:
        """Write the state to a safetensors file, with `note` as its metadata of that name.

        Raises:
            SessionError: there is none yet, or the file cannot be written.
        """
        self._call("save", os.fsencode(path), note.encode())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take over the state in a file; the next call fails where it is another program's.

        Raises:
            SessionError: the file cannot be read.
        """
        self._call("load", os.fsencode(path))

    def close(self) -> None:
        """Free the state; the session is of no use afterwards."""
        if self._number >= 0:
            self._call("close")
            self._number = -1

    def __del__(self) -> None:
        # The library outlives the session; an interpreter that ends may have taken it already.
        if getattr(self, "_number", -1) >= 0 and self._library is not None:
            self._library.mlx_coverage_close_session(self._number)

    def _call(self, name: str, *arguments: object) -> None:
        function = getattr(self._library, f"mlx_coverage_{name}_session")
        if function(self._number, *arguments) != 0:
            raise SessionError(last_error())


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
    for name in ("counter", "open_session", "current_session"):
        getattr(library, f"mlx_coverage_{name}").restype = ctypes.c_int64
    for name in ("close", "use", "reset", "copy", "save", "load"):
        function = getattr(library, f"mlx_coverage_{name}_session")
        function.argtypes = _SESSION_ARGUMENTS.get(name, [ctypes.c_int64])
    return library
