"""Which PyTorch ops run on Apple's MLX inside ExecuTorch, and the delegate that runs them."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["MLXPartitioner", "__version__"]

if TYPE_CHECKING:
    from mlx_coverage.lowering.partitioner import MLXPartitioner


def __getattr__(name: str) -> object:
    # Lazy: `mlx-coverage ops` and the reports must not pay for importing ExecuTorch.
    if name == "MLXPartitioner":
        from mlx_coverage.lowering.partitioner import MLXPartitioner

        return MLXPartitioner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
