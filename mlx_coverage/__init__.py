"""Which PyTorch ops run on Apple's MLX inside ExecuTorch, and the delegate that runs them."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlx_coverage import analyze

__version__ = "0.1.0"
__all__ = ["MLXPartitioner", "Report", "__version__", "analyze"]

if TYPE_CHECKING:
    from mlx_coverage.analysis import Report
    from mlx_coverage.lowering.partitioner import MLXPartitioner


class _Analyze(ModuleType):
    """The package `mlx_coverage.analyze`, which is also the function of that name."""

    def __call__(self, *args: Any, **kwargs: Any) -> "Report":
        from mlx_coverage.analysis import analyze

        return analyze(*args, **kwargs)


# Python lets a module have a class of its own (reference, 3.3.2.1).
analyze.__class__ = _Analyze


def __getattr__(name: str) -> object:
    # Lazy: `mlx-coverage ops` and the reports must not pay for importing ExecuTorch.
    if name == "MLXPartitioner":
        from mlx_coverage.lowering.partitioner import MLXPartitioner

        return MLXPartitioner
    if name == "Report":
        from mlx_coverage.analysis import Report

        return Report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
