"""What is true of each ATen op: its MLX implementation and the domain where that is right."""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_coverage.registry.spec import Registry


@lru_cache(maxsize=1)
def default_registry() -> "Registry":
    """The registry of all families in `registry/ops`."""
    # Here, so that the vocabulary of reasons can be read without importing torch.
    from mlx_coverage.registry.ops import FAMILIES
    from mlx_coverage.registry.spec import Registry

    return Registry(FAMILIES)
