"""Output files: whole or not at all."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class UnwritableError(Exception):
    """A file cannot be written; the text is one sentence for the user."""


def check_writable(path: Path) -> None:
    """Refuse a path before the work is done rather than after.

    Raises:
        UnwritableError: its folder is missing or read-only, or it is a folder itself.
    """
    folder = path.parent
    if path.is_dir():
        raise UnwritableError(f"{path} is a folder; accepted: the path of a file")
    if not folder.is_dir():
        raise UnwritableError(f"{path} cannot be written: there is no folder {folder}; make it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UnwritableError(f"{path} cannot be written: the folder {folder} is read-only")


def write_file(path: Path, content: str | Callable[[BinaryIO], object]) -> None:
    """Write the whole file or nothing.

    Args:
        path: to be replaced.
        content: the text, or a function that writes to the open file.

    Raises:
        UnwritableError: the file system refuses.
    """
    with stage_file(path) as scratch, scratch.open("wb") as file:
        if isinstance(content, str):
            file.write(content.encode(errors="replace"))
        else:
            content(file)


@contextmanager
def stage_file(path: Path) -> Iterator[Path]:
    """A scratch file beside `path` that takes its place if nothing goes wrong.

    Raises:
        UnwritableError: the file system refuses.
    """
    check_writable(path)
    scratch: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        scratch = Path(name)
        yield scratch
        _copy_mode(scratch, path)
        scratch.replace(path)
    except OSError as error:
        raise UnwritableError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)


def _copy_mode(scratch: Path, path: Path) -> None:
    # mkstemp makes files private; a report has the rights of any other new file.
    mask = os.umask(0)
    os.umask(mask)
    scratch.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask)
