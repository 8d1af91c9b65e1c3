"""What `mlx-coverage export` does with a model that generates: `hf:FOLDER`, and `zoo:NAME`."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_coverage.cli import console, exits
from mlx_coverage.cli.partitioning import configure_partitioner

if TYPE_CHECKING:
    from mlx_coverage.analyze.load import Methods
    from mlx_coverage.generation import Source

_DTYPES = ("float32", "bfloat16", "float16")


def add_generation(parser: argparse.ArgumentParser) -> None:
    """The options of models that generate."""
    group = parser.add_argument_group(
        "models that generate",
        "hf:FOLDER names a folder of transformers (configuration, weights, tokenizer), "
        "hf:OWNER/NAME one of its hub, zoo:NAME a preset with random weights; caches are part of "
        "the program, and the tokenizer goes into a folder beside it.",
    )
    group.add_argument(
        "--max-context", metavar="N", type=_count,
        help="most tokens of a conversation (default: 4096, or the model's limit)",
    )  # fmt: skip
    group.add_argument(
        "--prefill-chunk", metavar="N", type=_count,
        help="most tokens of a call (default: 512, or the context)",
    )  # fmt: skip
    group.add_argument(
        "--dtype", choices=_DTYPES, help="of weights and caches (default: the configuration's)"
    )
    group.add_argument(
        "--quantize", metavar="SCHEME", default="",
        help="such as 4w, 8da4w, or 4w:64,embedding=8w (docs/generation.md)",
    )  # fmt: skip


@contextmanager
def open_model(spec: str) -> "Iterator[Methods]":
    """The methods of a model, as `load.open_model` gives them; those of a generator for `hf:`.

    Raises:
        InputError: the spec is not understood, or names something else than a model.
        CaptureError: the model's own code raises.
    """
    if spec.startswith("hf:"):
        from mlx_coverage.generation import open_methods

        yield open_methods(spec)
        return
    from mlx_coverage.analyze import load

    with load.open_model(spec) as methods:
        yield methods


def open_generator(args: argparse.Namespace) -> "Source | None":
    """The model that generates which the arguments name, if it is one."""
    from mlx_coverage.analyze.failures import InputError

    given = [
        f"--{name.replace('_', '-')}"
        for name in ("max_context", "prefill_chunk", "dtype", "quantize")
        if getattr(args, name)
    ]
    source = None
    if args.model.startswith(("hf:", "zoo:")):
        with console.quiet(), console.progress("reading the configuration"):
            from mlx_coverage.generation import open_source

            source = open_source(args.model)
    if source is None and given:
        raise InputError(
            f"{', '.join(given)} is for models that generate; accepted: hf:FOLDER, or the zoo:NAME "
            "of a causal language model"
        )
    return source


def export_generator(source: "Source", path: Path, args: argparse.Namespace) -> int:
    """Write the program and its tokenizer."""
    import torch

    from mlx_coverage.cli.export import summarize
    from mlx_coverage.generation import ExportOptions, export_source

    dtype = getattr(torch, args.dtype) if args.dtype else None
    options = ExportOptions(args.max_context, args.prefill_chunk, dtype, args.quantize)
    with console.quiet():
        export = export_source(
            source, path, options, configure_partitioner(args), console.progress, args.verify
        )
    lowered = export.lowering
    for refusal in lowered.refusals:
        console.say(refusal.describe())
    if lowered.program is None:
        return exits.MODEL_FAILED
    lines = [summarize(path, lowered), *([f"  {export.verified}"] if export.verified else [])]
    sys.stdout.write("\n".join(lines) + "\n")
    return exits.PASSED


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens; accepted: 1 or more")
    return int(text)
