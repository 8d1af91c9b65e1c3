"""The user's own lines: which frame of a stack is theirs, and how sure that is."""

import linecache
import re
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from traceback import walk_tb
from types import TracebackType

import torch
from torch.fx import Node

from mlx_coverage.analyze.model import Source

_PACKAGE = str(Path(__file__).resolve().parents[1])
_TORCH = str(Path(torch.__file__).resolve().parent)
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_FRAME = re.compile(r'^ *File "(?P<file>.*)", line (?P<line>\d+)(?:, in .*)?$')


@dataclass(frozen=True)
class Frame:
    """One line of a stack."""

    file: str
    line: int
    code: str


def locate_node(node: Node) -> Source:
    """The user's line of a node; of a neighbour's, graded `inherited`, where it has none."""
    own = _locate_stack(node)
    if own.file is not None:
        return own
    for neighbour in (*node.all_input_nodes, *node.users):
        found = _locate_stack(neighbour)
        if found.file is not None:
            return Source(found.file, found.line, found.code, "inherited", found.via)
    return own


def _locate_stack(node: Node) -> Source:
    return _locate_text(node.meta.get("stack_trace"))


@lru_cache(maxsize=16384)
def _locate_text(text: str | None) -> Source:
    return locate_frames(parse_stack(text))


def find_file(name: str) -> Path | None:
    """The file that a `Source` names, or None when it is no longer there."""
    candidates = (Path(folder, name) for folder in ("", *sys.path))
    return next((path for path in candidates if path.is_file()), None)


def is_own(path: Path) -> bool:
    """Whether a file is the user's, rather than of an installed package."""
    return _is_users(str(path))


def locate_error(error: BaseException) -> Source:
    """The user's line at which an exception passed: of its first cause that has one."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for exception in reversed(chain):
        frames = [f for f in _walk(exception.__traceback__) if _is_file(f.file)]
        if any(_is_users(frame.file) for frame in frames):
            return locate_frames(frames)
    return Source()


def is_ours(error: BaseException) -> bool:
    """Whether the code that raised was called by lowering or the registry: a defect of ours."""
    folders = (f"{_PACKAGE}/lowering/", f"{_PACKAGE}/registry/")
    return any(frame.file.startswith(folders) for frame in _walk(error.__traceback__))


@lru_cache(maxsize=4096)
def parse_stack(text: str | None) -> tuple[Frame, ...]:
    """The frames of a `stack_trace`, outermost first; empty when there is none."""
    frames: list[Frame] = []
    lines = (text or "").splitlines()
    for number, line in enumerate(lines):
        match = _FRAME.match(line)
        if match is None:
            continue
        following = lines[number + 1] if number + 1 < len(lines) else ""
        code = "" if _FRAME.match(following) else following.strip()
        frames.append(Frame(match["file"], int(match["line"]), code))
    return tuple(frames)


def locate_frames(frames: Sequence[Frame]) -> Source:
    """The innermost frame that is the user's; failing that, of an installed package."""
    files = [frame for frame in frames if _is_file(frame.file)]
    users = next((i for i in reversed(range(len(files))) if _is_users(files[i].file)), None)
    within = [f for f in files[(users or 0) :] if not _is_torch(f.file) and not _is_users(f.file)]
    via = f"{_shorten(within[-1].file)}:{within[-1].line}" if within else None
    if users is not None:
        frame = files[users]
        grade = "inherited" if via else "exact"
        return Source(_shorten(frame.file), frame.line, frame.code, grade, via)  # type: ignore[arg-type]
    if within:
        frame = within[-1]
        return Source(_shorten(frame.file), frame.line, frame.code, "inherited")
    return Source()


def _walk(traceback: TracebackType | None) -> Iterable[Frame]:
    for frame, line in walk_tb(traceback):
        file = frame.f_code.co_filename
        yield Frame(file, line, linecache.getline(file, line).strip())


@lru_cache(maxsize=1024)
def _is_file(file: str) -> bool:
    # torch's passes write their own frames with a path relative to site-packages.
    return not file.startswith("<") and (Path(file).is_absolute() or Path(file).is_file())


@lru_cache(maxsize=1024)
def _is_torch(file: str) -> bool:
    return Path(file).resolve().is_relative_to(_TORCH)


@lru_cache(maxsize=1024)
def _is_users(file: str) -> bool:
    path = Path(file).resolve()
    installed = any(folder in path.parts for folder in _PACKAGE_FOLDERS)
    return not installed and not any(path.is_relative_to(folder) for folder in _list_installed())


@lru_cache(maxsize=1)
def _list_installed() -> tuple[str, ...]:
    schemes = sysconfig.get_paths()
    places = {schemes[name] for name in ("stdlib", "platstdlib")} | {_TORCH, _PACKAGE}
    return tuple(sorted(str(Path(place).resolve()) for place in places))


def _shorten(file: str) -> str:
    parts = Path(file).parts
    for folder in _PACKAGE_FOLDERS:
        if folder in parts:
            return "/".join(parts[parts.index(folder) + 1 :])
    resolved = Path(file).resolve()
    here = Path.cwd()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)
