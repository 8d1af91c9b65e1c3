"""`mlx-coverage generate`: text from a generator's program file."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.cli import console, exits

if TYPE_CHECKING:
    from mlx_coverage.generation import Request, TextGenerator


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "generate",
        parents=[shared],
        help="generate text with a .pte of export hf:FOLDER",
        description="Generate text with a program that mlx-coverage export hf:FOLDER wrote. The "
        "text goes to stdout as it comes.",
    )
    parser.add_argument("program", metavar="PROGRAM", help="a .pte of a causal language model")
    parser.add_argument(
        "--prompt", metavar="TEXT", help="what to go on from; with --chat, the only message"
    )
    parser.add_argument(
        "--chat", action="store_true",
        help="converse by the tokenizer's chat template; without --prompt, each line of stdin is a "
        "message",
    )  # fmt: skip
    parser.add_argument("--system", metavar="TEXT", help="the system message of --chat")
    parser.add_argument("--chat-template", metavar="FILE", help="a Jinja file; the tokenizer's own")
    parser.add_argument(
        "--tokenizer", metavar="FOLDER",
        help="default: the folder PROGRAM.tokenizer, or that of PROGRAM",
    )  # fmt: skip
    parser.add_argument(
        "--max-new-tokens", metavar="N", type=_count,
        help="default: as many as the context has left",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", metavar="T", type=float, default=0.0,
        help="by which logits are divided; 0, the default, takes the most likely token",
    )  # fmt: skip
    parser.add_argument(
        "--top-k", metavar="K", type=int, default=0, help="of the K most likely tokens only"
    )
    parser.add_argument(
        "--top-p", metavar="P", type=float, default=1.0,
        help="of the most likely tokens that have the probability P together",
    )  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=int, help="of the random numbers")
    parser.add_argument(
        "--stop", metavar="TEXT", action="append", default=[],
        help="end before this text (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--ignore-eos", action="store_true", help="go on after a token that ends a text"
    )
    parser.add_argument("--stats", action="store_true", help="print times and memory on stderr")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), help="default: what MLX has")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Stream the text; statistics come after it."""
    if args.prompt is None and not args.chat:
        from mlx_coverage.analyze.failures import InputError

        raise InputError("there is no prompt; add --prompt TEXT, or --chat")
    with console.quiet(), console.progress("loading the program"):
        from mlx_coverage import runtime
        from mlx_coverage.generation import Request, Sampling, TextGenerator

        sampling = Sampling(args.temperature, args.top_k, args.top_p, args.seed)
        request = Request(args.max_new_tokens, sampling, tuple(args.stop), args.ignore_eos)
        if args.device:
            runtime.set_options(device=args.device)
        generator = TextGenerator(args.program, args.tokenizer)
    if args.chat_template:
        generator.tokenizer.chat_template = _read_template(Path(args.chat_template))
    if args.chat:
        _converse(generator, request, args)
    else:
        _show(generator.generate(args.prompt, request))
    if args.stats:
        for line in generator.stats.describe():
            console.say(line)
    return exits.PASSED


def _converse(generator: "TextGenerator", request: "Request", args: argparse.Namespace) -> None:
    messages = [{"role": "system", "content": args.system}] if args.system else []
    for line in [args.prompt] if args.prompt is not None else _read_lines():
        messages.append({"role": "user", "content": line})
        answer = _show(generator.chat(messages, request))
        messages.append({"role": "assistant", "content": answer})


def _read_lines() -> Iterator[str]:
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


def _show(pieces: Iterator[str]) -> str:
    text = ""
    for piece in pieces:
        text += piece
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    return text


def _read_template(path: Path) -> str:
    from mlx_coverage.analyze.failures import InputError

    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no chat template: {error}; accepted: a Jinja file") from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens; accepted: 1 or more")
    return int(text)
