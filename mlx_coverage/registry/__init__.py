"""What is true of each ATen op: its MLX implementation and the domain where that is right."""

from functools import lru_cache

from mlx_coverage.registry.spec import Registry


@lru_cache(maxsize=1)
def default_registry() -> Registry:
    """The registry of all families in `registry/ops`."""
    from mlx_coverage.registry.ops import FAMILIES

    return Registry(FAMILIES)
