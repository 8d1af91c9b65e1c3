"""What is true of each ATen op: its MLX implementation and the domain where that is right."""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_coverage.registry.spec import Registry


@lru_cache(maxsize=1)
def default_registry() -> "Registry":
    """The registry of all families in `registry/ops`, and of the installed plug-ins.

    Raises:
        PluginError: a plug-in cannot be used, or declares what is declared already.
    """
    # Here, so that the vocabulary of reasons can be read without importing torch.
    from mlx_coverage.registry.ops import FAMILIES
    from mlx_coverage.registry.plugins import PluginError, load_families
    from mlx_coverage.registry.spec import Registry

    plugins = tuple(load_families())
    try:
        return Registry((*FAMILIES, *plugins))
    except ValueError as error:
        if not plugins:
            raise
        names = ", ".join(dict.fromkeys(family.name for family in plugins))
        raise PluginError(f"{error} (families of installed plug-ins: {names})") from error
