"""One process for each task: a crash or a hang costs that task alone.

On Linux the processes are forked from a server that has torch and ExecuTorch loaded, so
that each starts in milliseconds; elsewhere they are spawned.
"""

import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from mlx_coverage.analyze.failures import condense

Item = TypeVar("Item")
Result = TypeVar("Result")

_PRELOADED = ["mlx_coverage.analyze.capture", "mlx_coverage.analyze.load"]


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """How a task ended.

    Attributes:
        result: what the function returned; None when it did not.
        failure: why not, in one sentence; empty when it did.
    """

    result: Result | None = None
    failure: str = ""


@dataclass
class _Worker(Generic[Item]):
    item: Item
    process: BaseProcess
    connection: Connection
    deadline: float


def run_isolated(
    function: Callable[[Item], Result], items: Iterable[Item], timeout: float, jobs: int = 1
) -> Iterator[tuple[Item, Outcome[Result]]]:
    """Call `function` on each item in a process of its own; outcomes as they come.

    Args:
        function: a function that can be pickled, as can the items and results.
        items: what to call it with.
        timeout: seconds for one item; the process is killed after that.
        jobs: how many processes run at a time.
    """
    context = _get_context()
    waiting, running = deque(items), list[_Worker[Item]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(context, function, waiting.popleft(), timeout))
            rest = min(worker.deadline for worker in running) - time.monotonic()
            ready = wait([worker.connection for worker in running], max(rest, 0))
            for worker in list(running):
                late = time.monotonic() >= worker.deadline
                if worker.connection in ready or late:
                    running.remove(worker)
                    yield worker.item, _finish(worker, worker.connection in ready, timeout)
    finally:
        for worker in running:
            _stop(worker.process)


def _get_context() -> Any:
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _start(
    context: Any, function: Callable[[Item], Any], item: Item, timeout: float
) -> _Worker[Item]:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, function, item), daemon=True)
    process.start()
    sender.close()  # so that the end of the process is the end of the stream
    return _Worker(item, process, receiver, time.monotonic() + timeout)


def _serve(sender: Connection, function: Callable[[Item], Any], item: Item) -> None:
    try:
        sender.send(Outcome(function(item)))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the task's outcome)
        sender.send(Outcome(failure=condense(error)))


def _finish(worker: _Worker[Any], answered: bool, timeout: float) -> Outcome[Any]:
    if not answered:
        _stop(worker.process)
        return Outcome(failure=f"no answer within {timeout:g} s: the process was stopped")
    try:
        outcome: Outcome[Any] = worker.connection.recv()
    except EOFError:
        worker.process.join()
        return Outcome(failure=_describe_end(worker.process.exitcode))
    finally:
        worker.connection.close()
    worker.process.join()
    return outcome


def _describe_end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _stop(process: BaseProcess) -> None:
    process.kill()
    process.join()
