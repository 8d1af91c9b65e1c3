"""`mlx-coverage ops`: the registry as a table."""

import argparse
import sys
from typing import Any

from mlx_coverage.cli import console, exits
from mlx_coverage.report.ops import FORMS, render_ops


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "ops",
        parents=[shared],
        help="list the ops that run on MLX, each with its domain and limitations",
        description="List the ops of the registry: schema, domain in words, limitations.",
    )
    parser.add_argument(
        "pattern",
        metavar="PATTERN",
        nargs="?",
        default="",
        help="part of a name, such as pool, or a pattern such as 'aten.add*'",
    )
    parser.add_argument("--format", choices=tuple(FORMS), default="text", help="default: text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the ops that match."""
    with console.quiet():
        from mlx_coverage.analyze.catalog import list_ops
        from mlx_coverage.analyze.failures import InputError
        from mlx_coverage.registry import default_registry

        entries = list_ops(default_registry(), args.pattern)
    if not entries:
        raise InputError(
            f"no op of the registry matches {args.pattern!r}; accepted: part of a name such as "
            "'add', or a pattern such as 'aten.add*'; without one, all ops are listed"
        )
    width = console.describe_terminal(sys.stdout)["width"]
    sys.stdout.write(render_ops(entries, args.format, width))
    return exits.PASSED
