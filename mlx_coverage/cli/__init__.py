"""The command line: one file per command, this one for what they share.

Every command answers bad input with one sentence on stderr and one exit code (`exits`);
tracebacks are shown with `--traceback` only.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from mlx_coverage import __version__
from mlx_coverage.cli import (
    check,
    console,
    diff,
    doctor,
    exits,
    explain,
    export,
    ops,
    repro,
    run,
    sweep,
)
from mlx_coverage.runtime import versions

_COMMANDS = (check, diff, explain, repro, sweep, export, run, ops, doctor)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(exits.UNUSABLE_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    args = _make_parser().parse_args(argv)
    if untested := versions.describe_untested():
        console.say(untested)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        console.say("interrupted; no file is half-written")
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.PASSED
    except Exception as error:  # noqa: BLE001  (the last place: what is not typed is our defect)
        if args.traceback:
            traceback.print_exception(error)
        code, sentence = _explain(error)
        console.say(sentence)
        return code


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mlx-coverage",
        description="See which PyTorch ops of a model run on Apple's MLX through ExecuTorch, "
        "and run them there.",
        epilog="Exit codes: 0 passed; 1 a gate failed; 2 usage or unreadable input; 3 the model "
        "failed to import or export; 4 a defect of mlx-coverage; 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"mlx-coverage {__version__}")
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--traceback", action="store_true", help="show Python's traceback when something fails"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands, shared)
    return parser


def _explain(error: Exception) -> tuple[int, str]:
    from mlx_coverage.analyze.failures import (
        CallError,
        CaptureError,
        DifferenceError,
        ForeignDifferenceError,
        InputError,
        condense,
    )
    from mlx_coverage.registry.plugins import PluginError
    from mlx_coverage.report import UnwritableError
    from mlx_coverage.runtime import NativeRuntimeError

    if isinstance(error, CallError):
        return exits.MODEL_FAILED, str(error)
    if isinstance(error, (InputError, PluginError, UnwritableError, NativeRuntimeError)):
        return exits.UNUSABLE_INPUT, str(error)
    if isinstance(error, CaptureError):
        return exits.MODEL_FAILED, error.describe()
    if isinstance(error, ForeignDifferenceError):
        return exits.MODEL_FAILED, str(error)
    if isinstance(error, DifferenceError):
        return exits.DEFECT, str(error)  # it says itself whose fault is shown
    untested = versions.describe_untested()
    if untested and isinstance(error, (ImportError, AttributeError, TypeError)):
        return exits.UNUSABLE_INPUT, f"{condense(error)}; install a tested release: {untested}"
    return exits.DEFECT, (
        f"this is a defect of mlx-coverage, please report it with the output of --traceback: "
        f"{condense(error)}"
    )
