"""The native runtime: an ExecuTorch backend that runs recorded MLX programs.

``load()`` once per process, then load and run programs with ``executorch.runtime``.
Importing this package imports neither torch nor mlx.
"""

from mlx_coverage.runtime.errors import (
    BuildFailed,
    NativeRuntimeError,
    OptionRefused,
    RuntimeUnavailable,
    SessionError,
)
from mlx_coverage.runtime.library import (
    Session,
    counter,
    device,
    is_available,
    last_error,
    load,
    set_options,
)

BACKEND_ID = "MLXCoverageBackend"

__all__ = [
    "BACKEND_ID",
    "BuildFailed",
    "NativeRuntimeError",
    "OptionRefused",
    "RuntimeUnavailable",
    "Session",
    "SessionError",
    "counter",
    "device",
    "is_available",
    "last_error",
    "load",
    "set_options",
]
