"""Many models at once: each `check` in a process of its own, outcomes kept as they come.

A task is a command line, so that a crash or a hang costs one model, and so that it is the
same task on this machine and on a cluster.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from signal import Signals
from typing import IO, Any, Literal, get_args

from mlx_coverage import __version__
from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.model import CoverageReport, ReportFormatError, from_json

Status = Literal["checked", "failed", "crashed", "timed out"]
_FORM = 'models.toml holds a table [models] of NAME = "MODEL", and may hold timeout = SECONDS'
_TIMEOUT = 600.0
_PREFIX = "mlx-coverage: "
# Exit codes of `check` that come with a report: passed, a gate that the user's settings set,
# and a model that failed at a stage.
_CHECKED, _MODEL_FAILED = (0, 1), 3


@dataclass(frozen=True)
class Task:
    """One model of a sweep.

    Attributes:
        name: names the report's file.
        model: as `check` takes it.
        folder: the working directory of the check: that of the list.
        timeout: seconds after which the check is stopped.
        key: changes with the model's own file and with the versions that a report depends on.
    """

    name: str
    model: str
    folder: str
    timeout: float
    key: str


@dataclass(frozen=True)
class Outcome:
    """How the check of a model ended.

    Attributes:
        name: of the task.
        key: of the task.
        status: ``checked``; ``failed``: the model or its name is at fault; ``crashed``: the
            process died; ``timed out``.
        sentence: why it was not checked.
        report: the report as JSON text; empty where there is none.
    """

    name: str
    key: str
    status: Status
    sentence: str = ""
    report: str = ""


def read_tasks(path: Path) -> list[Task]:
    """The models that a list names.

    Raises:
        InputError: the file is not such a list.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); accepted: {_FORM}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML ({error}); accepted: {_FORM}") from error
    models, timeout = content.get("models"), content.get("timeout", _TIMEOUT)
    unknown = content.keys() - {"models", "timeout"}
    if unknown:
        raise InputError(f"{path} has {', '.join(sorted(unknown))}; accepted: {_FORM}")
    if not isinstance(models, dict) or not models:
        raise InputError(f"{path} names no models; accepted: {_FORM}")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
        raise InputError(f"{path}: timeout is {timeout!r}; accepted: a number of seconds above 0")
    for name, model in models.items():
        if not isinstance(model, str) or not model or model.startswith("-"):
            raise InputError(f"{path}: {name} is {model!r}; accepted: a model as check takes it")
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise InputError(
                f"{path}: the name {name!r} becomes a file name; accepted: letters, digits, '.', "
                "'-' and '_'"
            )
    folder = str(path.resolve().parent)
    return [
        Task(name, model, folder, float(timeout), _compute_key(model, path.resolve().parent))
        for name, model in models.items()
    ]


def _compute_key(model: str, folder: Path) -> str:
    digest = hashlib.sha256(model.encode())
    file = folder / model.partition("::")[0]
    if file.is_file():
        digest.update(file.read_bytes())
    versions = [__version__, *(version(name) for name in ("torch", "executorch"))]
    digest.update(repr(versions).encode())
    return digest.hexdigest()


def check(task: Task) -> Outcome:
    """Check one model in a new process."""
    # -P: the model's folder holds nothing that the command line itself should import.
    command = [sys.executable, "-P", "-m", "mlx_coverage", "check", task.model, "--json", "-"]
    # Files, not pipes: a pipe stays open as long as any child of a killed process lives.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            done = subprocess.run(
                command, cwd=task.folder, stdout=out, stderr=err, timeout=task.timeout, check=False
            )
        except subprocess.TimeoutExpired:
            sentence = f"no result within {task.timeout:g} s: the process was stopped"
            return Outcome(task.name, task.key, "timed out", sentence)
        text, said = _read(out), _read(err)
    return _judge(task, done.returncode, text, said)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _judge(task: Task, code: int, text: str, said: str) -> Outcome:
    if code < 0:
        sentence = f"the process died of {Signals(-code).name}"
        return Outcome(task.name, task.key, "crashed", sentence)
    # The last line of ours; without one, the model's code ended the process.
    ours = [line for line in said.splitlines() if line.startswith(_PREFIX)]
    sentence = ours[-1].removeprefix(_PREFIX) if ours else ""
    if code in _CHECKED and text:
        return Outcome(task.name, task.key, "checked", "", text)
    if code == _MODEL_FAILED:
        return Outcome(task.name, task.key, "failed", sentence, text)
    status: Status = "failed" if sentence else "crashed"
    sentence = sentence or f"the process ended with exit code {code}"
    return Outcome(task.name, task.key, status, sentence)


def run_tasks(tasks: Sequence[Task], executor: Executor) -> Iterator[Outcome]:
    """Outcomes as they come.

    Args:
        tasks: to be checked.
        executor: a pool of threads on this machine, or a cluster's.
    """
    futures = {executor.submit(check, task): task for task in tasks}
    try:
        for future in as_completed(futures):
            try:
                yield future.result()
            except Exception as error:  # noqa: BLE001  (a cluster's worker that is gone)
                task = futures[future]
                yield Outcome(task.name, task.key, "crashed", f"{type(error).__name__}: {error}")
    finally:
        for future in futures:
            future.cancel()


def read_report(outcome: Outcome) -> CoverageReport | None:
    """The report of an outcome that has one."""
    return from_json(outcome.report) if outcome.report else None


def dump_outcome(outcome: Outcome) -> str:
    """An outcome as JSON text."""
    return json.dumps(asdict(outcome), indent=2, ensure_ascii=False) + "\n"


def load_outcome(text: str, task: Task) -> Outcome | None:
    """What `dump_outcome` wrote, if it is of this task as it is now."""
    try:
        data: Mapping[str, Any] = json.loads(text)
        outcome = Outcome(**data)
        read_report(outcome)
    except (json.JSONDecodeError, TypeError, ReportFormatError):
        return None
    current = (outcome.name, outcome.key) == (task.name, task.key)
    return outcome if current and outcome.status in get_args(Status) else None
