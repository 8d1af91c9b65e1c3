"""Compile the runtime for the executorch and mlx that are installed.

MLX's C++ ABI changes with every release, so a wheel cannot carry the compiled runtime:
it is built at first use and kept in the user's cache.
"""

import os
import platform
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlx_coverage.runtime import cache
from mlx_coverage.runtime.errors import BuildFailed
from mlx_coverage.runtime.functions import SOURCES
from mlx_coverage.runtime.toolchain import Toolchain, find_toolchain

# What most of the compile time goes into.
_PREFIX = "#include <mlx/mlx.h>\n#include <executorch/runtime/backend/interface.h>\n"


def build(verbose: bool = False) -> Path:
    """The path of the runtime library, compiled now unless it is in the cache.

    Args:
        verbose: say on stderr what is being compiled.

    Raises:
        RuntimeUnavailable: a compiler, executorch or mlx is missing, or compiling failed.
    """
    toolchain = find_toolchain()
    library = locate(toolchain)
    if verbose and not library.is_file():
        print(
            f"Building the runtime for MLX {toolchain.mlx_version} (once, about a minute) ...",
            file=sys.stderr,
        )
    built = cache.produce(library, lambda target: compile_library(toolchain, target))
    if verbose:
        print(f"{'Built' if built else 'Already built:'} {library}", file=sys.stderr)
    return library


def locate(toolchain: Toolchain) -> Path:
    """Where the library for this toolchain is, or will be."""
    sources = [path for path in sorted(SOURCES.iterdir()) if path.suffix in (".cpp", ".h")]
    key = cache.hash_parts(
        [
            *(part for path in sources for part in (path.name, path.read_bytes())),
            cache.identify(toolchain.executorch_library),
            cache.identify(toolchain.mlx_library),
            toolchain.mlx_version,
            toolchain.compiler_version,
            platform.machine(),
            *toolchain.compile_flags,
            *toolchain.link_flags,
        ]
    )
    return cache.find_cache() / f"runtime-{key}" / toolchain.library_name


def compile_library(toolchain: Toolchain, target: Path) -> None:
    """Compile and link the runtime, with a log two folders above `target`.

    Raises:
        BuildFailed: the compiler or the linker reports an error.
    """
    log = target.parent.parent / "build.log"
    with log.open("w", encoding="utf-8") as output:

        def run(*command: str) -> None:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            output.write(f"$ {shlex.join(command)}\n{done.stdout}{done.stderr}\n")
            if done.returncode:
                output.flush()
                raise BuildFailed(_explain(done.stderr, log), log)

        prefix = target.parent / "prefix.h"
        prefix.write_text(_PREFIX, encoding="utf-8")
        flags = [*toolchain.compile_flags, "-include", str(prefix)]
        # `-include` reads the precompiled form beside the header, under the compiler's own suffix.
        form = "pch" if "clang" in toolchain.compiler_version else "gch"
        precompile = [*toolchain.compile_flags, "-x", "c++-header", str(prefix)]
        run(toolchain.compiler, *precompile, "-o", f"{prefix}.{form}")

        def compile_one(source: Path) -> str:
            made = target.parent / f"{source.stem}.o"
            run(toolchain.compiler, *flags, "-c", str(source), "-o", str(made))
            return str(made)

        sources = sorted(SOURCES.glob("*.cpp"))
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            objects = list(pool.map(compile_one, sources))
        run(toolchain.compiler, "-shared", *objects, *toolchain.link_flags, "-o", str(target))


def _explain(stderr: str, log: Path) -> str:
    first = next((line for line in stderr.splitlines() if "error" in line.lower()), "")
    reason = f" ({first.strip()[:200]})" if first else ""
    return f"Compiling the runtime failed{reason}: the whole output is in {log}."
