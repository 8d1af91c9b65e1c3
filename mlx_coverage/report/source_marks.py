"""The source that nodes come from, each line with what runs where."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlx_coverage.analyze.model import MethodReport, Source, SourceFile

Line = tuple[str, int]


@dataclass(frozen=True)
class MarkedLine:
    """A line of source.

    Attributes:
        number: from 1.
        text: without line end.
        mlx: delegated nodes that come from it.
        cpu: fallback nodes that come from it.
        findings: indices into `MethodReport.findings`.
    """

    number: int
    text: str
    mlx: int
    cpu: int
    findings: tuple[int, ...]


@dataclass(frozen=True)
class MarkedFile:
    """A file with the excerpts that have marks; `own` as in `SourceFile`."""

    file: str
    own: bool
    excerpts: tuple[tuple[MarkedLine, ...], ...]

    @property
    def mlx(self) -> int:
        """Delegated nodes of all lines."""
        return sum(line.mlx for excerpt in self.excerpts for line in excerpt)

    @property
    def cpu(self) -> int:
        """Fallback nodes of all lines."""
        return sum(line.cpu for excerpt in self.excerpts for line in excerpt)


def mark_files(method: MethodReport, files: tuple[SourceFile, ...]) -> list[MarkedFile]:
    """The files that nodes of the method come from, the user's own first.

    A node counts at the user's line, and at the line of the installed package by way of
    which it came.
    """
    mlx: Counter[Line] = Counter()
    cpu: Counter[Line] = Counter()
    findings: dict[Line, dict[int, None]] = {}
    for source, finding in zip(method.graph.source, method.graph.finding, strict=True):
        for line in list_lines(method.sources[source]):
            (mlx if finding < 0 else cpu)[line] += 1
            if finding >= 0:
                findings.setdefault(line, {})[finding] = None
    marked = (_mark(file, mlx, cpu, findings) for file in files)
    return sorted((file for file in marked if file.excerpts), key=lambda file: not file.own)


def list_lines(source: Source) -> Iterator[Line]:
    """The user's line, and the line of the installed package."""
    if source.file is not None and source.line is not None:
        yield source.file, source.line
    if source.via is not None:
        file, _, line = source.via.rpartition(":")
        if line.isdecimal():
            yield file, int(line)


def list_shown_lines(files: list[MarkedFile]) -> dict[Line, tuple[int, int]]:
    """Where each line is shown: index of the file, and number of the line."""
    return {
        (file.file, line.number): (i, line.number)
        for i, file in enumerate(files)
        for excerpt in file.excerpts
        for line in excerpt
    }


def _mark(
    file: SourceFile,
    mlx: Mapping[Line, int],
    cpu: Mapping[Line, int],
    findings: Mapping[Line, Mapping[int, None]],
) -> MarkedFile:
    excerpts = []
    for excerpt in file.excerpts:
        lines = []
        for number, text in enumerate(excerpt.lines, excerpt.first):
            line = (file.file, number)
            lines.append(
                MarkedLine(
                    number, text, mlx.get(line, 0), cpu.get(line, 0), tuple(findings.get(line, ()))
                )
            )
        if any(line.mlx or line.cpu for line in lines):
            excerpts.append(tuple(lines))
    return MarkedFile(file.file, file.own, tuple(excerpts))
