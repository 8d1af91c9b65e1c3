"""The command line: one file per command, this one for what they share.

Every command answers bad input with one sentence on stderr and one exit code (`exits`);
tracebacks are shown with `--traceback` only.
"""

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from mlx_coverage import __version__
from mlx_coverage.cli import (
    arguments,
    bench,
    check,
    console,
    diff,
    doctor,
    exits,
    explain,
    export,
    generate,
    ops,
    repro,
    run,
    sweep,
)
from mlx_coverage.runtime import versions

_COMMANDS = (check, diff, explain, repro, sweep, export, run, bench, generate, ops, doctor)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        hint = arguments.suggest(_find_wrong(message), self._list_names())
        self.exit(exits.UNUSABLE_INPUT, f"{self.prog}: {message}{hint}; see {self.prog} --help\n")

    def _list_names(self) -> list[str]:
        """Options and commands."""
        actions: list[argparse.Action] = self._actions
        commands = [name for action in actions for name in action.choices or () if name]
        return [*(o for action in actions for o in action.option_strings), *map(str, commands)]


def _find_wrong(message: str) -> str:
    """The word that argparse does not know."""
    wrong = re.search(r"invalid choice: '([^']+)'|unrecognized arguments: (\S+)", message)
    return (wrong[1] or wrong[2]).partition("=")[0] if wrong else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    args = _parse(argv)
    refusal = arguments.refuse_names(args)
    if refusal is not None:
        console.say(refusal)
        return exits.UNUSABLE_INPUT
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _make_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        # The command's own parser knows the options that are much like it.
        args.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    return args


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
    for command_parser in commands.choices.values():
        command_parser.set_defaults(refuse=command_parser.error)
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
