"""Edits of the user's lines that bring in a dtype which MLX does not compute in.

The edited line is what is tried: the functions of the file run its code for a while.
"""

import gc
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.sources import find_file, is_own, locate_node
from mlx_coverage.lowering.rewriting import CASTS
from mlx_coverage.registry.dtypes import name_dtype

# How torch's users write the wide dtypes: as a cast, and as an argument.
_SPELLINGS: Mapping[torch.dtype, tuple[str, str, str]] = {
    torch.float64: (r"\.double\(\)", r"torch\.(?:float64|double)\b", ".float()"),
    torch.complex128: (r"\.cdouble\(\)", r"torch\.(?:complex128|cdouble)\b", ".cfloat()"),
}


@dataclass(frozen=True)
class Edit:
    """Lines of one file, and what to write instead.

    Attributes:
        name: of the file, as reports have it.
        path: of the file.
        dtype: that the lines bring in.
        lines: by number: as they are, and as they should be.
    """

    name: str
    path: Path
    dtype: torch.dtype
    lines: Mapping[int, tuple[str, str]]

    @property
    def title(self) -> str:
        """What to do, in one sentence."""
        places = ", ".join(f"{self.name}:{number}" for number in self.lines)
        wide, narrow = name_dtype(self.dtype), name_dtype(CASTS[self.dtype])
        cast = _spell_cast(self.dtype)
        cut = {m[0] for before, _ in self.lines.values() for m in re.finditer(cast, before)}
        deleted = all(re.sub(cast, "", before) == after for before, after in self.lines.values())
        named = " and ".join(f"`{text}`" for text in sorted(cut))
        what = f"Delete {named}" if deleted else f"Write {narrow} instead of {wide}"
        return f"{what} ({places}), and compute in {narrow}."

    @property
    def change(self) -> str:
        """The lines before and after."""
        return "\n".join(
            f"- {before.strip()}\n+ {after.strip()}" for before, after in self.lines.values()
        )

    @contextmanager
    def apply(self, given: Exportable) -> Iterator[Exportable]:
        """The model with these lines; its functions have their own code again afterwards."""
        text = self.path.read_text().splitlines(keepends=True)
        for number, (before, after) in self.lines.items():
            text[number - 1] = text[number - 1].replace(before, after)
        kept: list[tuple[FunctionType, CodeType]] = []
        try:
            for function in list(_list_functions(self.path)):
                name = function.__code__.co_filename
                code = _list_codes(compile("".join(text), name, "exec"))
                new = code.get(_identify(function.__code__))
                if new is not None and new.co_freevars == function.__code__.co_freevars:
                    kept.append((function, function.__code__))
                    function.__code__ = new
            yield given
        finally:
            for function, old in kept:
                function.__code__ = old


def list_edits(program: ExportedProgram) -> Iterator[Edit]:
    """For each dtype that MLX lacks, the lines at which it comes into the program.

    Args:
        program: as exported from the user's modules.
    """
    found: dict[tuple[str, torch.dtype], dict[int, tuple[str, str]]] = {}
    for node in program.graph.nodes:
        dtype = _find_entered(node)
        source = locate_node(node) if dtype is not None else None
        if dtype is None or source is None or source.file is None or source.line is None:
            continue
        path = find_file(source.file)
        if path is None or not is_own(path):
            continue
        lines = path.read_text().splitlines()
        before = lines[source.line - 1] if source.line <= len(lines) else ""
        after = _rewrite(before, dtype, _find_operand(node))
        if after != before:
            found.setdefault((source.file, dtype), {})[source.line] = before, after
    for (name, dtype), changes in found.items():
        path = find_file(name)
        assert path is not None
        yield Edit(name, path, dtype, changes)


def _find_entered(node: Node) -> torch.dtype | None:
    """The wide dtype that a call makes of operands in others."""
    if node.op != "call_function":
        return None
    dtype = getattr(node.meta.get("val"), "dtype", None)
    if dtype not in _SPELLINGS:
        return None
    operands = pytree.tree_leaves([n.meta.get("val") for n in node.all_input_nodes])
    return None if any(getattr(v, "dtype", None) == dtype for v in operands) else dtype


def _find_operand(node: Node) -> torch.dtype | None:
    values = (n.meta.get("val") for n in node.all_input_nodes)
    return next((v.dtype for v in values if isinstance(v, torch.Tensor)), None)


def _rewrite(line: str, dtype: torch.dtype, operand: torch.dtype | None) -> str:
    _, name, narrow = _SPELLINGS[dtype]
    # A cast from another dtype than the narrow one keeps its meaning: of integers, of halves.
    line = re.sub(_spell_cast(dtype), "" if operand == CASTS[dtype] else narrow, line)
    return re.sub(name, f"torch.{name_dtype(CASTS[dtype])}", line)


def _spell_cast(dtype: torch.dtype) -> str:
    cast, name, _ = _SPELLINGS[dtype]
    return rf"{cast}|\.(?:to|type)\((?:dtype=)?{name}\)"


def _list_functions(path: Path) -> Iterator[FunctionType]:
    file = path.resolve()
    gc.unfreeze()  # what `check` imported before it froze it is not listed otherwise
    for value in gc.get_objects():
        if type(value) is not FunctionType:
            continue
        other = Path(value.__code__.co_filename)
        if other.name == path.name and other.resolve() == file:
            yield value


def _list_codes(code: CodeType) -> dict[Any, CodeType]:
    found = {_identify(code): code}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _list_codes(constant)
    return found


def _identify(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno
