"""Families of entries that installed packages bring: entry points of the group below.

An entry point names a `Family`, or a function that declares entries into the family that
it is given. A plug-in that cannot be used raises; none is skipped in silence, because its
ops would then fall back without a reason.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_coverage.registry.spec import Family

GROUP = "mlx_coverage.registry"


class PluginError(Exception):
    """An installed plug-in cannot be used; one sentence that names the distribution."""


def load_families() -> Iterator["Family"]:
    """The families of all plug-ins, in order of distribution and entry point.

    Raises:
        PluginError: a plug-in does not import, raises, or names something else.
    """
    for point in sorted(entry_points(group=GROUP), key=lambda p: (name_distribution(p), p.name)):
        yield _load(point)


def name_distribution(point: EntryPoint) -> str:
    """The installed distribution that declares the entry point."""
    return point.dist.name if point.dist is not None else "an unnamed distribution"


def _load(point: EntryPoint) -> "Family":
    from mlx_coverage.registry.spec import Family

    try:
        value = point.load()
        if callable(value):
            value = _build(value, name_distribution(point))
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise refuse(point, f"fails with {cause}; mend or uninstall it") from error
    if not isinstance(value, Family):
        accepted = "a Family, or a function that declares entries into the Family that it is given"
        raise refuse(point, f"is a {type(value).__name__}; accepted: {accepted}")
    return value


def _build(declare: Callable[["Family"], None], name: str) -> "Family":
    from mlx_coverage.registry.spec import Family

    family = Family(name)
    declare(family)
    return family


def refuse(point: EntryPoint, what: str) -> PluginError:
    """The error that names a plug-in and its distribution."""
    return PluginError(
        f"the plug-in {point.name} = {point.value} of {name_distribution(point)} {what}"
    )
