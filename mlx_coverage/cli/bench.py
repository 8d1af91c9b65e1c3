"""`mlx-coverage bench`: a model through every path that is installed, in one table."""

import argparse
from pathlib import Path
from typing import Any

from mlx_coverage.analyze.benchmark import Request, run_benchmark
from mlx_coverage.analyze.timings import KEYS, REFERENCE
from mlx_coverage.cli import console, exits
from mlx_coverage.report import check_writable, write_file
from mlx_coverage.report.benchmark import render_benchmark_json, render_benchmark_text


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "bench",
        parents=[shared],
        help="time a model through every path that is installed, against eager torch",
        description="Run one method through eager torch, torch.compile, ExecuTorch with its "
        "delegates, this delegate, and mlx-lm where it has the preset; each in a process of its "
        "own, after warm-up, compared with eager torch. Paths that are missing are listed.",
    )
    parser.add_argument("model", metavar="MODEL|FILE.pte", help="as check takes it, or a .pte")
    parser.add_argument("--method", metavar="NAME", help="default: forward, or the only one")
    parser.add_argument(
        "--repeat", metavar="N", type=_count, default=50, help="timed calls at most (default: 50)"
    )
    parser.add_argument(
        "--only", metavar="PATH", action="append", choices=KEYS,
        help=f"one of the paths (repeatable): {', '.join(KEYS)}",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    parser.set_defaults(run=run, accepted=(".pte",))


def run(args: argparse.Namespace) -> int:
    """Measure; exit with 3 where a path that is there failed."""
    if args.json:
        check_writable(Path(args.json))
    keys = tuple(key for key in KEYS if not args.only or key in (*args.only, REFERENCE))
    request = Request(args.model, args.method, args.repeat, keys)
    found = run_benchmark(request, console.progress)
    console.emit(render_benchmark_text(found))
    if args.json:
        write_file(Path(args.json), render_benchmark_json(found))
        console.say(f"wrote {args.json}")
    failed = any(measurement.status == "failed" for measurement in found.measurements)
    return exits.MODEL_FAILED if failed else exits.PASSED


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of calls; accepted: 1 or more")
    return int(text)
