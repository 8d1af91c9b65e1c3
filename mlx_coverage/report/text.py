"""The report for a terminal."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlx_coverage.analyze.model import (
    CoverageReport,
    Finding,
    Fix,
    MethodReport,
    ModulePath,
    Source,
    Stage,
    format_count,
    format_share,
)
from mlx_coverage.report.verdict import (
    describe_blockers,
    describe_cut,
    describe_fit,
    describe_kernels,
    describe_mood,
    describe_outcome,
    describe_reach,
    describe_refusals,
    describe_slow,
    describe_speed,
    describe_what_ifs,
    describe_work,
)

_STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_MARKS = ("ok", "failed", "not reached", "full", "empty", "dot", "times", "bar", "fix", "ellipsis")
_UNICODE = dict(zip(_MARKS, "✓✗–█░·×│→…", strict=True))  # noqa: RUF001
_ASCII = dict(zip(_MARKS, ("+", "x", "-", "#", ".", "|", "x", "|", "->", "..."), strict=True))


def render_text(
    report: CoverageReport, *, width: int = 100, color: bool = False, unicode: bool = True
) -> str:
    """The verdict, and a table of what falls back.

    Args:
        report: to be shown.
        width: columns to fit into; at least 60 are used.
        color: whether to use ANSI colours; nothing is said by colour alone.
        unicode: whether the terminal can show more than ASCII.
    """
    page = _Page(max(width, 60), color, _UNICODE if unicode else _ASCII)
    lines = "\n".join(line.rstrip() for line in page.render(report)) + "\n"
    return lines if unicode else lines.encode("ascii", "replace").decode("ascii")


def sanitize(text: str) -> str:
    """Model strings are untrusted: no control character reaches the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@dataclass(frozen=True)
class _Page:
    width: int
    color: bool
    marks: dict[str, str]

    def render(self, report: CoverageReport) -> Iterator[str]:
        yield from self._header(report)
        for method in report.methods:
            yield ""
            yield from self._method(method, report)
        if len(report.methods) > 1:
            share = format_share(report.delegated, report.nodes)
            yield ""
            nodes = format_count(report.nodes, "node")
            yield self._style("All methods", "bold") + (
                f"  {share} {describe_mood(report)}on MLX ({report.delegated} of {nodes})"
                f" {self.marks['dot']} {format_count(report.partitions, 'partition')}"
            )
        yield from self._section("DOES IT FIT", describe_fit(report))
        yield from self._section("WHAT IF", describe_what_ifs(report))
        if report.missing:
            yield ""
            for part in report.missing:
                yield from self._wrap(f"Missing from this report: {sanitize(part)}", 0, 2)
        if report.verified:
            yield ""
            yield "Verified: the full lowering delegates exactly these nodes."

    def _header(self, report: CoverageReport) -> Iterator[str]:
        versions = report.versions
        made_with = f" {self.marks['dot']} ".join(
            (
                f"mlx-coverage {versions.mlx_coverage}",
                f"torch {versions.torch}",
                f"executorch {versions.executorch}",
            )
        )
        title = sanitize(report.model)
        gap = self.width - len(title) - len(made_with)
        styled = self._style(title, "bold")
        if gap >= 2:
            yield styled + " " * gap + self._style(made_with, "dim")
        else:
            yield styled
            yield self._style(made_with, "dim")
        if report.target == "executorch":
            yield self._style("Target: ExecuTorch's own MLX delegate", "bold")
        yield "  ".join(self._stage(stage) for stage in report.stages)
        headline, *remarks = describe_outcome(report)
        color = "red" if report.outcome != "lowers" else "green" if report.is_whole else "yellow"
        yield ""
        yield from (self._style(x, color, "bold") for x in self._wrap(sanitize(headline), 0, 2))
        for text in remarks:
            yield from (self._style(x, "red", "bold") for x in self._wrap(sanitize(text), 0))
        for source, text in describe_refusals(report):
            yield ""
            yield from (self._style(x, "red") for x in self._wrap(sanitize(text), 0))
            yield from self._source(source, 2)

    def _stage(self, stage: Stage) -> str:
        style = {"ok": "green", "failed": "red"}.get(stage.status, "dim")
        return self._style(f"{self.marks[stage.status]} {stage.name}", style)

    def _method(self, method: MethodReport, report: CoverageReport) -> Iterator[str]:
        share = format_share(method.delegated, method.nodes)
        if len(report.methods) > 1:
            yield self._style(sanitize(method.name), "bold")
        if method.nodes == 0:
            yield "n/a: the program has no nodes to run."
            return
        dot = f" {self.marks['dot']} "
        style = "green" if method.fallback == 0 else "yellow" if method.delegated else "red"
        # A share of a program that does not lower is of none that there is.
        style = style if report.outcome == "lowers" else "dim"
        head = f"{share} {describe_mood(report)}on MLX"
        fraction = f" ({method.delegated} of {format_count(method.nodes, 'node')})"
        partitions = format_count(method.partitions, "partition")
        rest = partitions + dot + format_count(method.fallback, "fallback node")
        fits = len(head + fraction + dot + rest) <= self.width
        yield self._style(head, style, "bold") + fraction + (dot + rest if fits else "")
        if not fits:
            yield rest
        yield self._bar(method)
        yield from self._wrap(dot.join(describe_work(method)), 0)
        for text in describe_kernels(method, report):
            yield from (self._style(x, "red", "bold") for x in self._wrap(sanitize(text), 0))
        if method.findings:
            yield ""
            yield from self._table(method.findings)
        for title, texts in (
            ("HOW FAST, AT BEST", describe_speed(method)),
            ("KNOWN TO BE SLOW ON MLX", describe_slow(method)),
        ):
            yield from self._section(title, texts)
        if method.blockers:
            yield ""
            yield self._style("WHAT WOULD HELP MOST", "dim")
            for text in (*describe_blockers(method), *describe_cut(method)):
                yield from self._wrap(sanitize(text), 2, 2)

    def _section(self, title: str, texts: Iterable[str]) -> Iterator[str]:
        for number, text in enumerate(texts):
            if not number:
                yield ""
                yield self._style(title, "dim")
            yield from self._wrap(sanitize(text), 2, 2)

    def _bar(self, method: MethodReport) -> str:
        # A cell is full only for a whole share, so that one fallback node always shows.
        full = method.delegated * self.width // method.nodes
        full = max(full, 1) if method.delegated else 0
        empty = self.width - full
        return self._style(self.marks["full"] * full, "green") + self.marks["empty"] * empty

    def _table(self, findings: Sequence[Finding]) -> Iterator[str]:
        ops = [sanitize(finding.op) for finding in findings]
        op_width = min(max(map(len, [*ops, "OP"])), 48)
        slug_width = max(len(finding.reason.slug) for finding in findings)
        columns = f"{'NODES':>6}  {'OP':<{op_width}}  {'REASON':<{slug_width}}  SOURCE"
        yield self._style(columns, "dim")
        printed: dict[str, str] = {}
        for number, (finding, op) in enumerate(zip(findings, ops, strict=True)):
            if number:
                yield ""
            yield (
                f"{finding.count:>6}  {self._style(f'{op:<{op_width}}', 'bold')}  "
                f"{self._style(f'{finding.reason.slug:<{slug_width}}', 'cyan')}  "
                f"{sanitize(finding.source.place) or 'unknown'}"
            )
            yield from self._details(finding, printed)

    def _details(self, finding: Finding, printed: dict[str, str]) -> Iterator[str]:
        indent = 8
        yield from self._wrap(sanitize(finding.reason.sentence), indent)
        yield from self._source(finding.source, indent, place=False)
        modules = ", ".join(self._module(module) for module in finding.modules if module.path)
        if modules:
            yield from self._wrap(f"in {modules}", indent)
        for text in describe_reach(finding):
            yield from self._wrap(sanitize(text), indent)
        for other in finding.others:
            yield from self._wrap(f"also {other.slug}: {sanitize(other.sentence)}", indent)
        if finding.allowed is not None:
            yield from self._wrap(f"allowed: {sanitize(finding.allowed)}", indent)
            return
        mark = self.marks["fix"]
        for fix in finding.fixes:
            status = "verified" if fix.verified else "not verified"
            text = sanitize(f"{fix.title} ({status}: {fix.evidence})")
            yield from self._wrap(f"{mark} {text}", indent, len(mark) + 1)
            yield from self._code(fix, finding.op, printed, indent + len(mark) + 1)
        yield from self._wrap(f"{mark} {finding.reason.remedy}", indent, len(mark) + 1)

    def _code(self, fix: Fix, op: str, printed: dict[str, str], indent: int) -> Iterator[str]:
        # A declaration to be filled in is long, and in the JSON and on the page.
        if not fix.verified and "\n" in fix.change:
            return
        if fix.change in printed:
            if "\n" in fix.change:
                place = sanitize(printed[fix.change])
                yield from self._wrap(f"the code is at {place} above", indent)
            return
        printed[fix.change] = op
        for line in fix.change.splitlines():
            yield " " * indent + sanitize(line)

    def _module(self, module: ModulePath) -> str:
        times = f" {self.marks['times']}{module.instances}" if module.instances > 1 else ""
        return sanitize(module.path) + times

    def _source(self, source: Source, indent: int, place: bool = True) -> Iterator[str]:
        if source.file is None:
            return
        if place:
            yield " " * indent + self._style(sanitize(source.place), "bold")
        if source.code:
            number = f"{source.line} {self.marks['bar']} "
            code = self._cut(sanitize(source.code), self.width - indent - len(number))
            yield " " * indent + self._style(number, "dim") + code
        if source.via:
            yield " " * indent + self._style(f"by way of {sanitize(source.via)}", "dim")

    def _wrap(self, text: str, indent: int, hanging: int = 0) -> list[str]:
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hanging),
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _cut(self, text: str, width: int) -> str:
        ellipsis = self.marks["ellipsis"]
        return text if len(text) <= width else text[: width - len(ellipsis)] + ellipsis

    def _style(self, text: str, *names: str) -> str:
        if not self.color:
            return text
        codes = ";".join(str(_STYLES[name]) for name in names)
        return f"\033[{codes}m{text}\033[0m"
