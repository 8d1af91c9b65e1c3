"""Compiled files in the user's cache: one folder per key, written once, never changed."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

from mlx_coverage.runtime.errors import RuntimeUnavailable


def find_cache() -> Path:
    """The cache's folder: `MLX_COVERAGE_CACHE_DIR`, or the platform's place for caches."""
    if chosen := os.environ.get("MLX_COVERAGE_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/mlx-coverage"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlx-coverage"


def hash_parts(parts: Iterable[str | bytes]) -> str:
    """A key for a folder of the cache."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:20]


def identify(library: Path) -> str:
    """Text that changes when the library is replaced by another."""
    facts = library.stat()
    return f"{library} {facts.st_size} {facts.st_mtime_ns}"


def produce(target: Path, make: Callable[[Path], None]) -> bool:
    """Let `make` write `target`, a file or a folder, unless it exists; False when it existed.

    One process makes it while others wait. `make` writes to a scratch path in the same
    folder, so a reader never sees half a file.

    Raises:
        RuntimeUnavailable: the cache cannot be written.
    """
    if target.exists():
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / "lock"):
            if target.exists():
                return False
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                made = Path(scratch) / target.name
                make(made)
                made.replace(target)
    except OSError as error:
        raise RuntimeUnavailable(
            f"The cache {target.parent} cannot be written ({error.strerror or error}): "
            "set MLX_COVERAGE_CACHE_DIR to a folder that can."
        ) from error
    return True
