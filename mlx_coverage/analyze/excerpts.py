"""Excerpts of the source files that nodes come from, so that a report can show them."""

import ast
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mlx_coverage.analyze.model import Excerpt, Source, SourceFile
from mlx_coverage.analyze.sources import find_file, is_own

# Longest function that is shown whole, and the lines shown around a line otherwise.
_LONGEST = 120
_AROUND = 8


def read_excerpts(sources: Iterable[Source]) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """The functions around the lines, and one sentence for each file that cannot be read."""
    wanted: dict[str, set[int]] = {}
    for source in sources:
        if source.file is not None and source.line is not None:
            wanted.setdefault(source.file, set()).add(source.line)
        if source.via is not None:
            file, _, line = source.via.rpartition(":")
            wanted.setdefault(file, set()).add(int(line))
    files, missing = [], []
    for name, lines in sorted(wanted.items()):
        path = find_file(name)
        try:
            if path is None:
                raise FileNotFoundError("there is no such file")
            files.append(SourceFile(name, is_own(path), _cut(path, lines)))
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            missing.append(f"source of {name}: {error}")
    return tuple(files), tuple(missing)


def _cut(path: Path, wanted: Iterable[int]) -> tuple[Excerpt, ...]:
    with tokenize.open(path) as file:
        text = file.read()
    lines = text.splitlines()
    functions = list(_list_functions(text))
    spans: list[list[int]] = []
    for first, last in sorted(
        _find_span(line, functions, len(lines)) for line in wanted if line <= len(lines)
    ):
        if spans and first <= spans[-1][1] + 1:
            spans[-1][1] = max(spans[-1][1], last)
        else:
            spans.append([first, last])
    return tuple(Excerpt(first, tuple(lines[first - 1 : last])) for first, last in spans)


def _list_functions(text: str) -> Iterator[tuple[int, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = [decorator.lineno for decorator in node.decorator_list]
            yield min([node.lineno, *decorators]), node.end_lineno or node.lineno


def _find_span(line: int, functions: Sequence[tuple[int, int]], length: int) -> tuple[int, int]:
    around = [(a, b) for a, b in functions if a <= line <= b and b - a < _LONGEST]
    if around:
        return max(around, key=lambda span: span[1] - span[0])
    return max(1, line - _AROUND), min(length, line + _AROUND)
