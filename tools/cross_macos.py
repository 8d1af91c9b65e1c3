"""Compile and link the runtime for macOS on arm64, on Linux: `make cross-macos`.

The compiler is Zig's, from the PyPI package ziglang, which brings macOS headers and libc++; the
libraries are those of the macOS wheels. It shows that the sources build there, not that they run:
Zig links its own libc++, and nothing is executed.
"""

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from mlx_coverage.runtime import build, cache, toolchain
from mlx_coverage.runtime.errors import NativeRuntimeError

ZIG = "ziglang==0.17.1"
TARGET = "aarch64-macos.14.0"
PLATFORMS = ("macosx_14_0_arm64", "macosx_15_0_arm64")


class UnreachableError(Exception):
    """The package registry does not answer."""


def main() -> int:
    """Print the path of the library; 0 also where the registry is unreachable, with a sentence."""
    try:
        tools = prepare_toolchain()
    except UnreachableError as error:
        print(f"cross-macos: skipped: the package registry does not answer ({error})")
        return 0
    library = build.locate(tools)
    try:
        built = cache.produce(library, lambda target: build.compile_library(tools, target))
    except NativeRuntimeError as error:
        print(f"cross-macos: {error}", file=sys.stderr)
        return 1
    print(f"cross-macos: {'built' if built else 'already built'}: {library}")
    return 0


def prepare_toolchain() -> toolchain.Toolchain:
    """Zig's compiler and the packages of the macOS wheels, downloaded once into the cache.

    Raises:
        UnreachableError: the registry does not answer.
        RuntimeUnavailable: the cache cannot be written.
    """
    wheels = [f"executorch=={version('executorch')}", f"mlx-metal=={version('mlx')}"]
    folder = cache.find_cache() / f"macos-{cache.hash_parts([ZIG, TARGET, *wheels])}" / "packages"
    cache.produce(folder, lambda target: _download(target, wheels))
    mlx = folder / "mlx"
    compiler = str(folder / "zig-c++")
    return toolchain.Toolchain(
        compiler=compiler,
        compiler_version=toolchain.read_compiler_version(compiler),
        executorch=folder / "executorch",
        mlx=mlx,
        mlx_version=toolchain.read_mlx_version(mlx),
        mac=True,
    )


def _download(target: Path, wheels: list[str]) -> None:
    _fetch(target, [ZIG])
    _fetch(target, [*(f"--platform={name}" for name in PLATFORMS), *wheels])
    for wheel in target.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        wheel.unlink()
    (target / "ziglang/zig").chmod(0o755)
    compiler = target / "zig-c++"
    # By its own place: the folder is moved once it is complete.
    compiler.write_text(f'#!/bin/sh\nexec "${{0%/*}}/ziglang/zig" c++ -target {TARGET} "$@"\n')
    compiler.chmod(0o755)


def _fetch(target: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--retries=1", "--dest", str(target), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # The last line is that of an unknown version in either case.
        lost = next((line for line in done.stderr.splitlines() if "connection broken" in line), "")
        if lost:
            raise UnreachableError(lost.strip()[:200])
        raise SystemExit(f"cross-macos: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
