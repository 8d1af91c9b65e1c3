"""Two reports compared: what falls back in one and not in the other.

Line numbers move, files are renamed and lines are edited, so a finding is recognised in
rounds, each less exact than the one before, over the nodes that are still unmatched: the
same op and reason at the same text of the same file; anywhere in the same file; at the same
text in another file. Nodes that no round matches have appeared or disappeared. Node names
play no part.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_coverage.analyze.model import CoverageReport, Finding, MethodReport, format_count

_ROUNDS: tuple[Callable[[Finding], tuple[object, ...]], ...] = (
    lambda f: (f.op, f.reason.slug, f.source.file, f.source.code),
    lambda f: (f.op, f.reason.slug, f.source.file),
    lambda f: (f.op, f.reason.slug, f.source.code),
)


@dataclass
class _Unmatched:
    """A finding, and how many of its nodes no round has matched yet."""

    finding: Finding
    nodes: int


@dataclass(frozen=True)
class Change:
    """Fallback nodes that only one of the reports has.

    Attributes:
        finding: which they belong to.
        nodes: how many; the finding may have more, which both reports have.
    """

    finding: Finding
    nodes: int


@dataclass(frozen=True)
class MethodDifference:
    """One method in both reports.

    Attributes:
        name: of the method.
        old, new: what the reports say of it; None where one has no such method.
        appeared: what falls back in the new report only.
        disappeared: what falls back in the old report only.
    """

    name: str
    old: MethodReport | None
    new: MethodReport | None
    appeared: tuple[Change, ...]
    disappeared: tuple[Change, ...]


@dataclass(frozen=True)
class Difference:
    """Two reports and, method by method, what changed from the old one to the new one."""

    old: CoverageReport
    new: CoverageReport
    methods: tuple[MethodDifference, ...]


def compare_reports(old: CoverageReport, new: CoverageReport) -> Difference:
    """Compare method by method, by name; the methods of the new report come first."""
    olds = {method.name: method for method in old.methods}
    news = {method.name: method for method in new.methods}
    names = dict.fromkeys([*news, *olds])
    return Difference(old, new, tuple(_compare_methods(n, olds.get(n), news.get(n)) for n in names))


def _compare_methods(
    name: str, old: MethodReport | None, new: MethodReport | None
) -> MethodDifference:
    before = [_Unmatched(finding, finding.count) for finding in old.findings] if old else []
    after = [_Unmatched(finding, finding.count) for finding in new.findings] if new else []
    for key in _ROUNDS:
        _match(before, after, key)
    return MethodDifference(name, old, new, _list_changes(after), _list_changes(before))


def _match(
    before: Sequence[_Unmatched],
    after: Sequence[_Unmatched],
    key: Callable[[Finding], tuple[object, ...]],
) -> None:
    """Take from both sides the nodes whose findings have equal keys."""
    waiting: dict[tuple[object, ...], list[_Unmatched]] = {}
    for entry in before:
        waiting.setdefault(key(entry.finding), []).append(entry)
    for entry in after:
        for candidate in waiting.get(key(entry.finding), ()):
            matched = min(entry.nodes, candidate.nodes)
            entry.nodes -= matched
            candidate.nodes -= matched


def _list_changes(entries: Sequence[_Unmatched]) -> tuple[Change, ...]:
    changes = [Change(entry.finding, entry.nodes) for entry in entries if entry.nodes]
    return tuple(sorted(changes, key=lambda change: -change.nodes))


def find_new_fallback(difference: Difference) -> Iterator[str]:
    """A sentence for each finding with nodes that the old report does not have.

    What a comment in the source allows is left out. A model that no longer comes through
    every stage counts as well.
    """
    failure = difference.new.failure
    if failure is not None and difference.old.failure is None:
        yield f"the model no longer passes the stage {failure.name}: {failure.sentence}"
    for method in difference.methods:
        for change in method.appeared:
            finding = change.finding
            if finding.allowed is None:
                place = f" at {finding.source.place}" if finding.source.file else ""
                yield (
                    f"{format_count(change.nodes, 'new fallback node')} of {finding.op}{place} "
                    f"({finding.reason.slug}: {finding.reason.sentence})"
                )


def find_more_partitions(difference: Difference) -> Iterator[str]:
    """A sentence for each method that is cut into more partitions than before."""
    for method in difference.methods:
        if method.old is None or method.new is None:
            continue
        before, after = method.old.partitions, method.new.partitions
        if after > before:
            yield f"{method.name} has {format_count(after, 'partition')}, {before} before"


# What `--fail-on` accepts; each gives a sentence per reason to fail.
GATES: Mapping[str, Callable[[Difference], Iterator[str]]] = {
    "new-fallback": find_new_fallback,
    "more-partitions": find_more_partitions,
}
