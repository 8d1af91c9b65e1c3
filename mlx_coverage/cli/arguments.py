"""Values of options, read in one way from the command line and from pyproject.toml."""

import argparse

from mlx_coverage.analyze.difference import GATES
from mlx_coverage.report.formats import OUTPUT_FORMATS, RENDERERS


def percentage(text: str) -> float:
    """`95`, `95.5` or `95%`."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; accepted: 0 to 100")
    return value


def output_format(text: str) -> str:
    """A format for stdout."""
    if text not in OUTPUT_FORMATS:
        accepted = ", ".join(OUTPUT_FORMATS)
        raise argparse.ArgumentTypeError(f"{text!r} is no format; accepted: {accepted}")
    return text


def report(text: str) -> tuple[str, str]:
    """`FORMAT:PATH`."""
    form, _, path = text.partition(":")
    if form not in RENDERERS or not path:
        accepted = ", ".join(RENDERERS)
        raise argparse.ArgumentTypeError(
            f"{text!r} is no report; accepted: FORMAT:PATH with a format of {accepted}"
        )
    return form, path


def gates(text: str) -> list[str]:
    """Names separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in GATES:
            raise argparse.ArgumentTypeError(
                f"{name!r} is no gate; accepted: {', '.join(GATES)}, separated by commas"
            )
    return names
