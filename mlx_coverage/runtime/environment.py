"""What is installed here and whether it fits together: the facts of `mlx-coverage doctor`."""

import platform
from dataclasses import dataclass

from mlx_coverage.runtime import blas, build, library, toolchain
from mlx_coverage.runtime.errors import RuntimeUnavailable

MIXED_BACKENDS_REMEDY = (
    "pip uninstall -y mlx-cpu mlx-cuda-12 mlx-cuda-13 && "
    "pip install --force-reinstall --no-deps {keep}"
)
OLDEST_MLX = (0, 32, 4)


@dataclass(frozen=True)
class Environment:
    """The facts, and what is wrong with them.

    Attributes:
        mlx_backends: the installed packages that bring MLX a backend.
        compiler: the C++ compiler and its version, or None.
        runtime_path: the compiled runtime, or None when it is not in the cache yet.
        device: where programs run, "cpu" or "gpu"; None while the runtime is not compiled.
        fast_matmul: the state of fast matrix products, as `blas.preload` returns it.
        problems: one sentence each, with the remedy.
    """

    python: str
    system: str
    torch: str | None
    executorch: str | None
    mlx: str | None
    mlx_backends: tuple[str, ...]
    compiler: str | None
    runtime_path: str | None
    device: str | None
    fast_matmul: str
    problems: tuple[str, ...]


def inspect() -> Environment:
    """Look at this machine. Compiles nothing and imports neither torch nor mlx."""
    backends = tuple(toolchain.list_mlx_backends())
    mlx = toolchain.find_version("mlx")
    problems = [*_check_backends(backends), *_check_mlx_version(mlx)]
    if toolchain.find_version("torch") is None:
        problems.append("torch is missing: `pip install torch`.")
    runtime_path = device = None
    try:
        path = build.locate(toolchain.find_toolchain())
        if path.is_file():
            runtime_path = str(path)
            device = library.device()
    except RuntimeUnavailable as error:
        problems.append(str(error))
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        torch=toolchain.find_version("torch"),
        executorch=toolchain.find_version("executorch"),
        mlx=mlx,
        mlx_backends=backends,
        compiler=_describe_compiler(),
        runtime_path=runtime_path,
        device=device,
        fast_matmul=blas.preload(),
        problems=tuple(problems),
    )


def _check_backends(backends: tuple[str, ...]) -> list[str]:
    # All of them install mlx/lib/libmlx.so: the last one installed wins, files of the others stay.
    linux = [name for name in backends if name != "mlx-metal"]
    if len(linux) < 2:
        return []
    keep = next((name for name in linux if name.startswith("mlx-cuda")), linux[0])
    return [
        f"{' and '.join(linux)} install the same library over each other: "
        f"`{MIXED_BACKENDS_REMEDY.format(keep=keep)}`."
    ]


def _check_mlx_version(version: str | None) -> list[str]:
    if version is None:
        return []
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    if numbers >= OLDEST_MLX:
        return []
    oldest = ".".join(map(str, OLDEST_MLX))
    return [f"MLX {version} is too old for the runtime: `pip install -U 'mlx>={oldest}'`."]


def _describe_compiler() -> str | None:
    path = toolchain.find_compiler()
    if path is None:
        return None
    try:
        return f"{path}: {toolchain.read_compiler_version(path)}"
    except RuntimeUnavailable:
        return None
