"""Whether the installed torch, executorch and mlx are among the tested ones: `pyproject.toml`.

The ranges are those of the requirements, which `make compatibility` measures. pip keeps to them,
but installing another package later may not.
"""

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

PACKAGES = ("torch", "executorch", "mlx")


def describe_untested() -> str | None:
    """One sentence that names the installed packages outside the tested ranges, or None."""
    try:
        requirements = [Requirement(text) for text in requires("mlx-coverage") or ()]
    except PackageNotFoundError:
        return None  # a checkout on the path, which promises no versions
    outside = []
    for requirement in requirements:
        if requirement.name not in PACKAGES:
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            continue  # what needs it says so
        if not requirement.specifier.contains(installed, prereleases=True):
            tested = ", ".join(sorted(map(str, requirement.specifier), reverse=True))
            outside.append(f"{requirement.name} {installed} (tested: {tested})")
    if not outside:
        return None
    return f"not tested with this version of mlx-coverage: {'; '.join(outside)}"
