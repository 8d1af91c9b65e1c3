"""The options that steer the partitioner."""

import argparse
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_coverage.lowering.partitioner import MLXPartitioner


def add_partitioner(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--exclude", metavar="OP", action="append", default=[],
        help="keep an op, such as aten.add.Tensor, off the delegate (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--fix-decompositions", action="store_true",
        help="decompose what MLX lacks as torch does, where MLX has all the parts",
    )  # fmt: skip
    parser.add_argument(
        "--no-settings", action="store_true", help="do not read [tool.mlx-coverage]"
    )


def configure_partitioner(args: argparse.Namespace) -> partial["MLXPartitioner"]:
    """Makes partitioners as the options ask for, once the model has registered its ops.

    Raises:
        InputError: there is no op of a name that is to be excluded.
    """
    from mlx_coverage.lowering.partitioner import MLXPartitioner

    _refuse_unknown(args.exclude)
    return partial(
        MLXPartitioner,
        exclude_ops=args.exclude,
        fix_decompositions=args.fix_decompositions,
    )


def _refuse_unknown(names: Iterable[str]) -> None:
    from mlx_coverage.analyze.catalog import find_similar, is_known
    from mlx_coverage.analyze.failures import InputError
    from mlx_coverage.registry import default_registry

    registry = default_registry()
    for name in names:
        if not is_known(name, registry):
            similar = find_similar(name, registry) or ["a name such as aten.add.Tensor"]
            accepted = " or ".join(similar)
            raise InputError(f"--exclude {name}: there is no such op; accepted: {accepted}")
