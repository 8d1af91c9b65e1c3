"""What the runtime is compiled with: a compiler and the installed executorch and mlx."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlx_coverage.runtime.errors import RuntimeUnavailable

IS_MAC = sys.platform == "darwin"

_COMPILER_REMEDY = (
    "run `xcode-select --install`"
    if IS_MAC
    else "install one (Debian, Ubuntu: `sudo apt install g++`) or set CXX"
)


@dataclass(frozen=True)
class Toolchain:
    """A compiler and the two packages whose headers and libraries it is given.

    Attributes:
        mac: whether it compiles for macOS.
    """

    compiler: str
    compiler_version: str
    executorch: Path
    mlx: Path
    mlx_version: str
    mac: bool = IS_MAC

    @property
    def executorch_library(self) -> Path:
        return find_executorch_library(self.executorch, self.mac)

    @property
    def mlx_library(self) -> Path:
        return find_mlx_library(self.mlx, self.mac)

    @property
    def library_name(self) -> str:
        """The file name of the runtime."""
        return name_library("mlx_coverage", self.mac)

    @property
    def compile_flags(self) -> tuple[str, ...]:
        """Flags for a C++ source of the runtime, or of a host that uses ExecuTorch."""
        include = self.executorch / "include"
        headers = [
            include,
            include / "executorch/runtime/core/portable_type/c10",
            self.mlx / "include",
        ]
        if (self.mlx / "include/metal_cpp").is_dir():
            headers.append(self.mlx / "include/metal_cpp")
        # The work is MLX's: -O2 would lengthen the build by half for glue.
        flags = [
            *("-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"),
            # The wheel's c10 headers have their macros generated; and its libexecutorch is
            # compiled with the event tracer, which changes the layout of its classes.
            *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED"),
            *(f"-isystem{path}" for path in headers),
        ]
        return (*flags, "-mmacosx-version-min=14.0") if self.mac else tuple(flags)

    @property
    def link_flags(self) -> tuple[str, ...]:
        """Flags that link the two libraries by path and find them again at run time."""
        libraries = (self.executorch_library, self.mlx_library)
        flags = [str(library) for library in libraries]
        flags += [f"-Wl,-rpath,{library.parent}" for library in libraries]
        if self.mac:
            return (*flags, "-mmacosx-version-min=14.0")
        # The wheels' libraries leave symbols to libraries that only their loaders know.
        return (*flags, "-Wl,--enable-new-dtags,--as-needed,-z,now,--allow-shlib-undefined")


def find_toolchain() -> Toolchain:
    """The installed compiler, executorch and mlx.

    Raises:
        RuntimeUnavailable: one of them is missing or too old.
    """
    executorch, mlx = find_executorch(), find_mlx()
    compiler = find_compiler()
    if compiler is None:
        raise RuntimeUnavailable(f"There is no C++ compiler: {_COMPILER_REMEDY}.")
    return Toolchain(
        compiler=compiler,
        compiler_version=read_compiler_version(compiler),
        executorch=executorch,
        mlx=mlx,
        mlx_version=read_mlx_version(mlx),
    )


def find_compiler() -> str | None:
    """The path of the C++ compiler, `CXX` first."""
    candidates = [os.environ.get("CXX", ""), "clang++" if IS_MAC else "g++", "c++", "clang++"]
    for name in candidates:
        path = shutil.which(name) if name else None
        if path:
            return path
    return None


@cache
def read_compiler_version(compiler: str) -> str:
    """The first line that the compiler says of itself."""
    try:
        output = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeUnavailable(
            f"The C++ compiler {compiler} does not run: {_COMPILER_REMEDY}."
        ) from error
    return output.splitlines()[0] if output else "unknown"


def find_executorch() -> Path:
    """The installed executorch package.

    Raises:
        RuntimeUnavailable: it is missing, or has no shared runtime library.
    """
    for path in find_package("executorch"):
        if find_executorch_library(path).is_file():
            return path
        raise RuntimeUnavailable(
            f"The executorch in {path} has no shared runtime: "
            "`pip install -U 'executorch>=1.5'` brings one."
        )
    raise RuntimeUnavailable("executorch is missing: `pip install 'executorch>=1.5'`.")


def find_mlx() -> Path:
    """The installed mlx package that holds headers and the library.

    Raises:
        RuntimeUnavailable: it is missing, or has no backend for this machine.
    """
    paths = find_package("mlx")
    for path in paths:
        if (path / "include/mlx/mlx.h").is_file() and find_mlx_library(path).is_file():
            return path
    backend = "mlx" if IS_MAC else "mlx-cpu"
    if paths:
        raise RuntimeUnavailable(
            f"mlx has no backend for this machine: `pip install {backend}` (or mlx-cuda-13)."
        )
    raise RuntimeUnavailable(f"mlx is missing: `pip install mlx {backend}`.")


def find_executorch_library(package: Path, mac: bool = IS_MAC) -> Path:
    """Where the wheel has its runtime as a shared library."""
    return package / "lib" / name_library("executorch", mac)


def find_mlx_library(package: Path, mac: bool = IS_MAC) -> Path:
    """Where the wheel has MLX's C++ library."""
    return package / "lib" / name_library("mlx", mac)


def name_library(name: str, mac: bool = IS_MAC) -> str:
    """The file name of a shared library."""
    return f"lib{name}{'.dylib' if mac else '.so'}"


def find_package(name: str) -> list[Path]:
    """The folders of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(location) for location in spec.submodule_search_locations]


def list_mlx_backends() -> list[str]:
    """The installed packages that bring MLX a backend, `mlx-cpu` for one."""
    names = ("mlx-cpu", "mlx-cuda-12", "mlx-cuda-13", "mlx-metal")
    return [name for name in names if find_version(name)]


def has_cuda_backend() -> bool:
    """Whether MLX runs on CUDA here."""
    return any(name.startswith("mlx-cuda") for name in list_mlx_backends())


def find_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_mlx_version(package: Path) -> str:
    """MLX's version as its headers state it."""
    text = (package / "include/mlx/version.h").read_text(encoding="utf-8")
    parts = [re.search(rf"MLX_VERSION_{part} (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    return ".".join(part[1] for part in parts if part)
