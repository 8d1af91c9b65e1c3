"""Output files: whole or not at all."""

import os
import shutil
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
        UnwritableError: its folder is missing or read-only, it is a folder itself, or the file
            system makes no file there.
    """
    try:
        folder = (_follow(path) if path.is_symlink() else path).parent
        if path.is_dir():
            raise UnwritableError(f"{path} is a folder; accepted: the path of a file")
        if not folder.is_dir():
            raise UnwritableError(f"{path} cannot be written: there is no folder {folder}; make it")
        if not os.access(folder, os.W_OK | os.X_OK) and not _is_stream(path):
            raise UnwritableError(f"{path} cannot be written: the folder {folder} is read-only")
        # What the rights allow, the file system may still refuse.
        _make_scratch(path).unlink()
    except OSError as error:
        raise _refuse(path, error) from error


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
        scratch = _make_scratch(path)
        yield scratch
        if _is_stream(path):
            with scratch.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            _copy_mode(scratch, path)
            scratch.replace(_follow(path))
    except OSError as error:
        raise _refuse(path, error) from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)


def _refuse(path: Path, error: OSError) -> UnwritableError:
    return UnwritableError(f"{path} cannot be written: {error.strerror or error}")


def _make_scratch(path: Path) -> Path:
    handle, name = tempfile.mkstemp(
        dir=None if _is_stream(path) else _follow(path).parent, prefix=".mlx-coverage."
    )
    os.close(handle)
    return Path(name)


def _follow(path: Path) -> Path:
    """The file that a link names, which is to be replaced, and not the link."""
    return Path(os.path.realpath(path))


def _is_stream(path: Path) -> bool:
    """Whether the path is a pipe or device, such as /dev/null: it is written to, not replaced."""
    return path.exists() and not path.is_file()


def _copy_mode(scratch: Path, path: Path) -> None:
    # mkstemp makes files private; a report has the rights of any other new file.
    mask = os.umask(0)
    os.umask(mask)
    scratch.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask)
