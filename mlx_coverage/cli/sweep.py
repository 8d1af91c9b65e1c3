"""`mlx-coverage sweep`: check many models, and say which op gates the most of them."""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.cli import console, exits

if TYPE_CHECKING:
    from mlx_coverage.analyze.sweep import Outcome, Task

_OUTCOMES = "outcomes"


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sweep",
        parents=[shared],
        help="check many models and tabulate what falls back",
        description="Check every model of a list in a process of its own, go on where an earlier "
        "sweep stopped, and write one table of ops by models: sweep.csv and sweep.md, beside "
        "each model's report as NAME.json.",
    )
    parser.add_argument(
        "models", metavar="LIST", help='a TOML file with a table [models] of NAME = "MODEL"'
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="where to write; made if need be"
    )
    parser.add_argument(
        "--jobs", metavar="N", type=_count, default=max((os.cpu_count() or 2) // 2, 1),
        help="checks that run at a time on this machine (default: half the cores)",
    )  # fmt: skip
    parser.add_argument(
        "--retry", action="store_true", help="also check again what crashed or timed out before"
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS",
        help="run the checks on the workers of a Dask cluster instead, which need the same "
        "files and packages (extra: dask)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check what is not known yet; exit code 3 when a model could not be checked."""
    from mlx_coverage.analyze.sweep import read_report, read_tasks, run_tasks
    from mlx_coverage.report import write_file
    from mlx_coverage.report.sweep import describe_gate, render_csv, render_markdown

    tasks = read_tasks(Path(args.models))
    folder = _make_folder(Path(args.output))
    known = {task.name: _load(folder, task, args.retry) for task in tasks}
    todo = [task for task in tasks if known[task.name] is None]
    if len(todo) < len(tasks):
        console.say(f"{len(tasks) - len(todo)} of {len(tasks)} models are known from before")
    try:
        if todo:
            with _open_executor(args) as executor, _show_progress(len(todo)) as advance:
                for outcome in run_tasks(todo, executor):
                    known[outcome.name] = outcome
                    _save(folder, outcome)
                    advance(outcome)
    except KeyboardInterrupt:
        console.say("interrupted; what was checked is kept, the next sweep goes on from there")
        return exits.INTERRUPTED
    outcomes = {
        name: (read_report(outcome), outcome.sentence)
        for name, outcome in known.items()
        if outcome is not None
    }
    write_file(folder / "sweep.csv", render_csv(outcomes))
    write_file(folder / "sweep.md", render_markdown(outcomes))
    sys.stdout.write(f"{describe_gate(outcomes)}\n")
    console.say(f"wrote {folder / 'sweep.md'} and {folder / 'sweep.csv'}")
    return exits.MODEL_FAILED if any(why for _, why in outcomes.values()) else exits.PASSED


def _make_folder(folder: Path) -> Path:
    from mlx_coverage.report import UnwritableError

    try:
        (folder / _OUTCOMES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"{folder} cannot be made a folder: {error.strerror}") from error
    return folder


def _load(folder: Path, task: "Task", retry: bool) -> "Outcome | None":
    from mlx_coverage.analyze.sweep import load_outcome

    path = folder / _OUTCOMES / f"{task.name}.json"
    outcome = load_outcome(path.read_text(encoding="utf-8"), task) if path.is_file() else None
    if retry and outcome is not None and outcome.status in ("crashed", "timed out"):
        return None
    return outcome


def _save(folder: Path, outcome: "Outcome") -> None:
    from mlx_coverage.analyze.sweep import dump_outcome
    from mlx_coverage.report import write_file

    write_file(folder / _OUTCOMES / f"{outcome.name}.json", dump_outcome(outcome))
    if outcome.report:
        write_file(folder / f"{outcome.name}.json", outcome.report)


@contextmanager
def _open_executor(args: argparse.Namespace) -> Iterator[Executor]:
    if not args.dask:
        with ThreadPoolExecutor(args.jobs) as pool:
            try:
                yield pool
            finally:
                # On Ctrl-C the checks that run are finished, the others are not begun.
                pool.shutdown(wait=False, cancel_futures=True)
        return
    from mlx_coverage.analyze.failures import InputError

    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--dask needs Dask; install it with pip install 'mlx-coverage[dask]'"
        ) from error
    try:
        client = Client(args.dask, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--dask {args.dask}: no scheduler answers there; accepted: an address such as "
            "tcp://host:8786"
        ) from error
    with client:
        # A check is one process; a model that kills its worker must not be handed on.
        yield client.get_executor(pure=False, retries=0)


@contextmanager
def _show_progress(total: int) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=total, unit="model", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance(outcome: "Outcome") -> None:
            bar.update()
            if outcome.status != "checked":
                bar.clear()
                console.say(f"{outcome.name} {outcome.status}: {outcome.sentence}")

        yield advance


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of jobs; accepted: 1, 2, ...")
    return int(text)
