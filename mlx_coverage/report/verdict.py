"""What every format says first, and how they group what falls back by line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlx_coverage.analyze.model import (
    CoverageReport,
    Finding,
    MethodReport,
    Source,
    format_count,
    format_share,
)


def describe_verdict(counts: CoverageReport | MethodReport) -> str:
    """`66.7 % on MLX (2 of 3 nodes), 1 partition, 1 fallback node`."""
    if isinstance(counts, CoverageReport) and not counts.methods:
        return "n/a: no program was planned"
    if counts.nodes == 0:
        return "n/a: the program has no nodes to run"
    share = format_share(counts.delegated, counts.nodes)
    return (
        f"{share} on MLX ({counts.delegated} of {format_count(counts.nodes, 'node')}), "
        f"{format_count(counts.partitions, 'partition')}, "
        f"{format_count(counts.nodes - counts.delegated, 'fallback node')}"
    )


@dataclass(frozen=True)
class LineFinding:
    """What falls back at one line of source for one reason, over all ops and methods.

    Attributes:
        source: the line; of nodes without one, of one op each.
        findings: at least one, in the order of the report.
    """

    source: Source
    findings: tuple[Finding, ...]

    @property
    def slug(self) -> str:
        """The reason that they share."""
        return self.findings[0].reason.slug

    @property
    def nodes(self) -> int:
        """How many nodes fall back here."""
        return sum(finding.count for finding in self.findings)

    def describe(self) -> str:
        """One sentence: how many nodes of which ops, and what the values are."""
        sentences = dict.fromkeys(finding.reason.sentence for finding in self.findings)
        ops: dict[str, int] = {}
        for finding in self.findings:
            ops[finding.op] = ops.get(finding.op, 0) + finding.count
        named = ", ".join(f"{op} x{count}" if count > 1 else op for op, count in ops.items())
        allowed = self.findings[0].allowed
        accepted = "" if allowed is None else f" (allowed: {allowed})"
        return f"{named} falls back: {'; '.join(sentences)}{accepted}"


def group_by_line(findings: Iterable[Finding]) -> Sequence[LineFinding]:
    """One entry per source line and reason, the most nodes first."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        place = finding.source.place
        groups.setdefault((finding.reason.slug, place or f"::{finding.op}"), []).append(finding)
    lines = [LineFinding(members[0].source, tuple(members)) for members in groups.values()]
    return sorted(lines, key=lambda line: -line.nodes)
