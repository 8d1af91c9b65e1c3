"""The two streams: stdout is data, stderr is progress and what went wrong."""

import logging
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO


def say(text: str) -> None:
    """One line on stderr."""
    print(f"mlx-coverage: {text}", file=sys.stderr)


def emit(text: str) -> None:
    """Data on stdout. A reader that has seen enough, such as `head`, changes no exit code."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show what is going on: on a terminal until it is over, elsewhere in lines.

    Elsewhere a stage that takes a moment is one line, and another one every 30 seconds.
    """
    if not sys.stderr.isatty():
        with _told(text):
            yield
        return
    stream = sys.stderr
    stream.write(f"\r\033[K{text} ...")
    stream.flush()
    try:
        yield
    finally:
        stream.write("\r\033[K")
        stream.flush()


# Seconds after which a stage is told where stderr is no terminal, and then again.
FIRST, AGAIN = 2.0, 30.0


@contextmanager
def _told(text: str) -> Iterator[None]:
    over = threading.Event()
    started = time.monotonic()
    stream = sys.stderr

    def tell() -> None:
        wait = FIRST
        while not over.wait(wait):
            seconds = time.monotonic() - started
            after = "" if wait == FIRST else f" for {seconds:.0f} s"
            print(f"mlx-coverage: {text}{after} ...", file=stream, flush=True)
            wait = AGAIN

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def describe_terminal(stream: TextIO) -> dict[str, Any]:
    """Arguments of `render_text` that suit a stream; NO_COLOR is respected."""
    terminal = stream.isatty()
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    return {
        "width": min(shutil.get_terminal_size().columns, 120) if terminal else 100,
        "color": color,
        "unicode": encoding.startswith("utf"),
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings, logs and prints of third parties off the terminal for a while."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
