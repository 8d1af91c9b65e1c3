"""The entries, one file per family, and the list of families."""

from mlx_coverage.registry.ops import unary
from mlx_coverage.registry.spec import Family

FAMILIES: tuple[Family, ...] = (unary.family,)
