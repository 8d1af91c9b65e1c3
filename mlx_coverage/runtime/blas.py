"""Fast matrix products for MLX on a Linux CPU.

MLX's CPU wheel carries a reference BLAS, one to two orders of magnitude slower than the
one inside torch. A small library that is loaded before MLX forwards the calls.
"""

import ctypes
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

from mlx_coverage.runtime import cache
from mlx_coverage.runtime.errors import BuildFailed, RuntimeUnavailable
from mlx_coverage.runtime.functions import SOURCES
from mlx_coverage.runtime.toolchain import (
    find_compiler,
    find_mlx,
    find_mlx_library,
    find_package,
    has_cuda_backend,
)

SWITCH = "MLX_COVERAGE_FAST_MATMUL"

_FLAGS = ("-x", "c", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
_lock = threading.Lock()
_state: str | None = None
_library: ctypes.CDLL | None = None
_paths: tuple[bytes, bytes] | None = None  # the library keeps pointers to them


def preload() -> str:
    """Load the forwarder if it can still take effect; call before importing mlx.core.

    Never raises: MLX works without, only slower.

    Returns:
        "active", "off", "too late" (MLX is loaded already), "not needed" (MLX brings a
        fast BLAS or runs on a GPU) or "unavailable: <why>".
    """
    global _state
    with _lock:
        if _state is None:
            _state = _preload()
        return _state


def resolve() -> bool:
    """Look for torch's BLAS now instead of at the first product; whether it is there."""
    return _library is not None and bool(_library.mlx_coverage_blas_resolve())


def count_calls() -> int:
    """How many matrix products went to torch's BLAS."""
    return 0 if _library is None else int(_library.mlx_coverage_blas_calls())


def _preload() -> str:
    global _library, _paths
    if os.environ.get(SWITCH) == "0":
        return "off"
    if sys.platform != "linux" or has_cuda_backend():
        return "not needed"
    try:
        mlx = find_mlx_library(find_mlx())
        torch = _find_torch_library()
        if _is_loaded(mlx):
            return "too late"
        library = ctypes.CDLL(str(_build()), mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    except (RuntimeUnavailable, OSError) as error:
        return f"unavailable: {error}"
    _paths = (bytes(torch), bytes(mlx))
    library.mlx_coverage_blas_calls.restype = ctypes.c_long
    library.mlx_coverage_blas_set_paths(*_paths)
    _library = library
    return "active"


def _find_torch_library() -> Path:
    for package in find_package("torch"):
        library = package / "lib/libtorch_cpu.so"
        if library.is_file():
            return library
    raise RuntimeUnavailable("torch is missing: `pip install torch`.")


def _is_loaded(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return False
    return True


def _build() -> Path:
    # The key names no compiler: asking for its version would cost more than the rest of preload.
    source = SOURCES / "blas_forwarder.c"
    key = cache.hash_parts([source.read_bytes(), platform.machine(), *_FLAGS])
    library = cache.find_cache() / f"blas-{key}" / "libmlx_coverage_blas.so"
    cache.produce(library, lambda target: _compile(source, target))
    return library


def _compile(source: Path, target: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        raise RuntimeUnavailable("there is no C compiler.")
    command = [compiler, *_FLAGS, str(source), "-o", str(target), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        log = target.parent.parent / "build.log"
        log.write_text(done.stderr, encoding="utf-8")
        raise BuildFailed(f"compiling the forwarder failed: see {log}.", log)
