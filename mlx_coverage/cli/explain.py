"""`mlx-coverage explain`: what a reason means, what helps, and an example."""

import argparse
import sys
from typing import Any

from mlx_coverage.cli import console, exits
from mlx_coverage.report.reasons import render_reason, render_reasons


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explain",
        parents=[shared],
        help="say what a reason means and what helps",
        description="Explain a reason of the vocabulary; without one, list them all.",
    )
    parser.add_argument("slug", metavar="SLUG", nargs="?", help="such as op/dtype")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one reason, or the list."""
    from mlx_coverage.analyze.vocabulary import list_reasons

    entries = {entry.slug: entry for entry in list_reasons()}
    if args.slug is None:
        sys.stdout.write(render_reasons(tuple(entries.values())))
        return exits.PASSED
    if args.slug not in entries:
        from mlx_coverage.analyze.failures import InputError

        raise InputError(
            f"there is no reason {args.slug!r}; accepted: {', '.join(sorted(entries))}"
        )
    width = console.describe_terminal(sys.stdout)["width"]
    sys.stdout.write(render_reason(entries[args.slug], width))
    return exits.PASSED
