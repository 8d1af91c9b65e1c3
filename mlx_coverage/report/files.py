"""Output files: whole or not at all."""

import os
import tempfile
from collections.abc import Callable
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
    """Write beside the file, then rename: a reader never sees half of it.

    Args:
        path: to be replaced.
        content: the text, or a function that writes to the open file.

    Raises:
        UnwritableError: the file system refuses.
    """
    check_writable(path)
    scratch = ""
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, str):
                file.write(content.encode(errors="replace"))
            else:
                content(file)
        _copy_mode(scratch, path)
        os.replace(scratch, path)
        scratch = ""
    except OSError as error:
        raise UnwritableError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if scratch:
            Path(scratch).unlink(missing_ok=True)


def _copy_mode(scratch: str, path: Path) -> None:
    # mkstemp makes files private; a report has the rights of any other new file.
    mask = os.umask(0)
    os.umask(mask)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask
    os.chmod(scratch, mode)
