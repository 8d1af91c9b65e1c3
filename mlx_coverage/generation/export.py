"""From a published model to one file that generates: methods, their metadata, the tokenizer."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.generation.source import Source, open_source

if TYPE_CHECKING:
    from mlx_coverage.analyze.capture import Lowering
    from mlx_coverage.analyze.load import Exportable
    from mlx_coverage.lowering.partitioner import MLXPartitioner

# What follows the name of a program file, without its suffix, for its tokenizer's folder.
TOKENIZER = ".tokenizer"
# Tolerance where activations are rounded to 8 bits: as for bfloat16, which has as many.
_DYNAMIC = 6e-2
_CONTEXT = 4096
_CHUNK = 512
# What transformers takes together in a linear attention: longer chunks are more of these.
_RECURRENT_CHUNK = 64


@dataclass(frozen=True)
class ExportOptions:
    """How a model is written.

    Attributes:
        max_context: most tokens of a conversation; None for 4096, or the model's own limit where
            that is less.
        prefill_chunk: most tokens of a call; None for 512, or `max_context` where that is less
            (64 for a model with a recurrent state).
        dtype: of weights, activations and caches; None for that of the configuration.
        quantize: as `parse_quantization` reads it, such as "4w:32,embedding=8w"; "" for not.
        every_position: whether the logits of every token of a call come out.
    """

    max_context: int | None = None
    prefill_chunk: int | None = None
    dtype: torch.dtype | None = None
    quantize: str = ""
    every_position: bool = False


@dataclass(frozen=True)
class Export:
    """How an export went.

    Attributes:
        lowering: where its `program` is None nothing was written, and its `refusals` say why.
        verified: what was compared with eager torch, in one line; None where nothing was.
    """

    lowering: "Lowering"
    verified: str | None = None


def export_source(
    source: Source,
    path: Path,
    options: ExportOptions | None = None,
    make: "Callable[[], MLXPartitioner] | None" = None,
    follow: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
    verify: bool = False,
) -> Export:
    """Write a model's program to `path`, and its tokenizer into the folder beside it.

    Args:
        source: what to export.
        path: the `.pte`.
        options: how.
        make: gives the partitioner of a method.
        follow: gives a context for each stage, named in a few words.
        verify: whether to run the program before it is written, and compare it with eager torch.

    Raises:
        InputError: an option does not fit the model, or the model is not all there.
        CaptureError: the model does not export.
        DifferenceError: the program computes something else (with `verify`).
    """
    from mlx_coverage.analyze import capture
    from mlx_coverage.generation.quantization import Scheme, parse_quantization, quantize
    from mlx_coverage.lowering.partitioner import MLXPartitioner
    from mlx_coverage.report.files import stage_file

    options = options or ExportOptions()
    lengths = choose_lengths(source.config, options)
    quantization = parse_quantization(options.quantize) if options.quantize else None
    with follow("loading the weights"):
        model = source.load_model(options.dtype)
        prepare_model(model)
    if quantization is not None:
        with follow("quantizing"):
            quantize(model, quantization)
    with follow("preparing"), torch.no_grad():
        methods, metadata = make_methods(source, model, options, lengths)
    with follow("exporting"):
        programs = capture.export_methods(methods)
    with follow("lowering"):
        lowered = capture.lower_methods(programs, make or MLXPartitioner, metadata)
    if lowered.program is None:
        return Export(lowered)
    verified = None
    with follow("writing"), stage_file(path) as scratch:
        with scratch.open("wb") as file:
            lowered.program.write_to_file(file)
        if verify:
            dynamic = quantization is not None and (quantization.linear or Scheme(8)).dynamic
            verified = _compare(scratch, methods, _DYNAMIC if dynamic else 0.0)
        _write_tokenizer(source, path)
    return Export(lowered, verified)


def _compare(path: Path, methods: "dict[str, Exportable]", least: float) -> str:
    """A prompt of more than a chunk, then tokens one by one, beside eager torch.

    Differences up to `least` are tolerated where the dtype of the logits explains less.

    Raises:
        DifferenceError: logits differ by more than rounding explains.
    """
    from mlx_coverage.analyze.comparison import compare
    from mlx_coverage.generation.program import Program

    program = Program(path)
    limits = program.metadata
    generator = torch.Generator().manual_seed(0)
    chunk = max(limits.max_seq_len, limits.prefill_chunk_size)
    prompt, count = chunk + min(chunk, 3), min(chunk + 8, limits.max_context_len)
    tokens = torch.randint(limits.vocab_size, (count,), generator=generator).tolist()
    session, error, calls = program.open_session(), 0.0, 0
    while session.position < count:
        start, end = session.position, prompt if session.position < prompt else session.position + 1
        part = tokens[start : start + program.choose_length(min(end, count) - start)]
        name = program.choose_method(len(part))
        with torch.no_grad():
            expected = methods[name].module(torch.tensor([part]), torch.tensor([start]))[0, -1]
        error = max(error, compare(name, [session.extend(part)], [expected], least))
        calls += 1
    return (
        f"verified: {calls} calls with {count} tokens, largest difference from eager torch "
        f"{error:.2g}"
    )


def open_methods(spec: str, options: ExportOptions | None = None) -> "dict[str, Exportable]":
    """The methods that `export_source` would lower, without weights: for `check`.

    Raises:
        InputError: there is no such model, or it is none that generates.
    """
    source, options = open_source(spec, parts=False), options or ExportOptions()
    if source is None:
        raise InputError(f"{spec} generates nothing; accepted: a causal language model")
    model = source.make_absent_model()
    prepare_model(model)
    return make_methods(source, model, options, choose_lengths(source.config, options))[0]


def prepare_model(model: Any) -> None:
    """Choose, of the implementations that transformers has of a model's parts, those that export.

    Args:
        model: of transformers; changed in place.
    """
    model.requires_grad_(False)
    if model._supports_sdpa:
        model.set_attn_implementation("sdpa")
    if model._can_set_experts_implementation():
        model.set_experts_implementation("batched_mm")


def make_methods(
    source: Source, model: Any, options: ExportOptions, lengths: tuple[int, int]
) -> tuple["dict[str, Exportable]", dict[str, Any]]:
    """A model's methods by name, and the values of its constant methods.

    Args:
        source: of the model.
        model: prepared.
        options: how it is written.
        lengths: as `choose_lengths` gives them.

    Raises:
        InputError: the model has parts that are not served.
    """
    from mlx_coverage.generation.text import make_text_methods

    methods, metadata = make_text_methods(model, *lengths, options.every_position)
    return methods, metadata | _list_special_tokens(model)


def choose_lengths(config: Any, options: ExportOptions) -> tuple[int, int]:
    """Most tokens of a conversation and of a call.

    Raises:
        InputError: what was asked for does not fit the model.
    """
    config = config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or _CONTEXT
    context = options.max_context or min(limit, _CONTEXT)
    if context > limit:
        raise InputError(
            f"--max-context {context} is more than the {limit} positions of the model; accepted: "
            f"2 to {limit}"
        )
    recurrent = "linear_attention" in (getattr(config, "layer_types", None) or ())
    chunk = options.prefill_chunk or min(_RECURRENT_CHUNK if recurrent else _CHUNK, context)
    if chunk > context:
        raise InputError(
            f"--prefill-chunk {chunk} is more than the context of {context} tokens; accepted: 1 "
            f"to {context}"
        )
    return context, chunk


def _list_special_tokens(model: Any) -> dict[str, Any]:
    """The ids that begin and end a text, of the configuration for generation."""
    config = model.generation_config or model.config
    found: dict[str, Any] = {}
    if isinstance(config.bos_token_id, int):
        found["get_bos_id"] = config.bos_token_id
    ends = config.eos_token_id
    if ends is not None:
        found["get_eos_ids"] = [ends] if isinstance(ends, int) else list(ends)
    return found


def _write_tokenizer(source: Source, path: Path) -> None:
    folder = find_tokenizer_folder(path)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=".mlx-coverage."))
    try:
        source.write_tokenizer(scratch)
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def find_tokenizer_folder(path: Path) -> Path:
    """Where the tokenizer of a program file is: `model.tokenizer` beside `model.pte`."""
    return path.with_name(path.stem + TOKENIZER)
