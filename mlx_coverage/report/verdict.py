"""The sentences that every format starts with, and fallback nodes grouped by line."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlx_coverage.analyze.model import (
    CoverageReport,
    Finding,
    MethodReport,
    Source,
    format_bytes,
    format_count,
    format_flops,
    format_seconds,
    format_share,
)

# Blockers that are shown; JSON and HTML hold all of them.
_BLOCKERS = 3
# Sizes that depend on data and are named; JSON and HTML hold all of them.
_SIZES = 3
# Further lines of a finding that are named; JSON holds all of them.
_LINES = 4
# Chips that texts name, and dtypes of weights; JSON and HTML hold all of them.
_CHIPS = ("M1", "M4", "M4 Pro", "M5 Max")
_DTYPES = 3
# What a call of a delegate takes with next to nothing to do, in seconds (benchmarks/README.md).
CALL_SECONDS = 1e-4
# Blockers that a search did not get to, and that are named.
_UNTRIED = 5


def describe_outcome(report: CoverageReport) -> Iterator[str]:
    """What stands before all figures: the headline, and remarks."""
    yield describe_headline(report)
    yield from report.remarks


def describe_headline(report: CoverageReport) -> str:
    """What becomes of the program, and which lines decide it; every format begins with it."""
    match report.outcome:
        case "not planned" | "does not lower":
            refusals = report.failure.refusals if report.failure is not None else ()
            sources = [refusal.source for refusal in refusals]
            return f"Does not lower: {_name_lines(sources) or 'the reason is below'}."
        case "does not load":
            lines = _name_lines(_list_sources(report, "runtime/no-kernel"))
            ops = [op for method in report.methods for op in method.kernels_missing]
            said = f"ExecuTorch has no kernel for {_enumerate(list(dict.fromkeys(ops)))}"
            return f"Lowers, and does not load: {said}{f'; {lines}' if lines else ''}."
        case "wrong numbers":
            lines = _name_lines(_list_sources(report, "runtime/wrong-kernel"))
            ops = [op for method in report.methods for op in method.kernels_wrong]
            said = f"ExecuTorch's kernel is wrong for {_enumerate(list(dict.fromkeys(ops)))}"
            change = f"; {lines}" if lines else ""
            return f"Lowers, and gives other numbers than torch: {said}{change}."
        case "lowers":
            return _describe_pieces(report)


def _describe_pieces(report: CoverageReport) -> str:
    if not report.nodes:
        return "Lowers, and has no nodes to run."
    if not report.delegated:
        return "Lowers, and nothing runs on MLX."
    methods = [method for method in report.methods if method.nodes]
    each = f" for each of {len(methods)} methods" if len(methods) > 1 else ""
    if report.is_whole:
        return f"Lowers as one delegate{each}."
    pieces = sum(len(method.segments) for method in methods)
    of = f" of {len(methods)} methods" if len(methods) > 1 else ""
    lines = len(group_by_line(f for method in methods for f in method.findings))
    keep = "keeps" if lines == 1 else "keep"
    return (
        f"Lowers in {pieces} pieces{of}, {report.partitions} of them on MLX: "
        f"{format_count(lines, 'line')} {keep} it from one{each}."
    )


def _list_sources(report: CoverageReport, slug: str) -> list[Source]:
    return [
        place
        for method in report.methods
        for finding in method.findings
        if any(reason.slug == slug for reason in (finding.reason, *finding.others))
        for place in (finding.source, *finding.lines)
    ]


def _name_lines(sources: Iterable[Source]) -> str:
    places = list(dict.fromkeys(source.place for source in sources if source.place))
    if not places:
        return ""
    return f"change {'this line' if len(places) == 1 else 'these lines'}: {_enumerate(places)}"


def _enumerate(names: Sequence[str]) -> str:
    further = f" and {len(names) - _LINES} more" if len(names) > _LINES else ""
    return f"{', '.join(names[:_LINES])}{further}"


def describe_fit(report: CoverageReport) -> Iterator[str]:
    """What the program takes, and which Macs have that for their GPU."""
    memory = report.memory
    if not memory.fits:
        return
    by_dtype = ", ".join(f"{w.dtype} {format_bytes(w.bytes)}" for w in memory.weights[:_DTYPES])
    parts = [f"weights {format_bytes(memory.weight_bytes)}"]
    if len(memory.weights) > 1:
        parts[0] += f" ({by_dtype})"
    elif memory.weights:
        parts[0] += f" of {memory.weights[0].dtype}"
    if memory.state_bytes:
        parts.append(f"state {format_bytes(memory.state_bytes)}")
    working = f"working set {format_bytes(memory.working_bytes)}"
    if memory.upper_working_bytes not in (None, memory.working_bytes):
        working += f", at the largest sizes {format_bytes(memory.upper_working_bytes or 0)}"
    yield "; ".join([*parts, working, f".pte {format_bytes(memory.program_bytes)}"])
    fitting = [fit.machine for fit in memory.fits if fit.fits]
    if not fitting:
        yield f"fits no Mac of up to {memory.fits[-1].machine}, as macOS shares memory out"
    elif len(fitting) == len(memory.fits):
        yield f"fits a Mac of {fitting[0]}"
    else:
        yield f"fits a Mac of {fitting[0]} and more"


def describe_speed(method: MethodReport) -> Iterator[str]:
    """A bound on a few chips, and the rate of a generator's steps."""
    for speed, what in ((method.speed, "a call"), (method.step, "a step of one token")):
        shown = [b for b in (speed.bounds if speed else ()) if b.chip in _CHIPS]
        if not shown or not shown[0].seconds:
            continue
        if all(b.seconds < CALL_SECONDS for b in shown):
            yield f"{what} has less work than the call itself costs, on every chip"
            continue
        times = ", ".join(
            f"{format_seconds(b.seconds)} on {b.chip}{_format_rate(b.tokens_per_second)}"
            for b in shown
        )
        yield f"{what} takes no less than {times}"
        expected = [(b.chip, b.expected_seconds) for b in shown if b.expected_seconds is not None]
        if expected:
            times = ", ".join(f"{format_seconds(seconds)} on {chip}" for chip, seconds in expected)
            yield f"{what} by the ratio to its bound that was measured: {times}"


def _format_rate(rate: float | None) -> str:
    if not rate:
        return ""
    return f" ({rate:,.0f} tokens/s)" if rate >= 100 else f" ({rate:.3g} tokens/s)"


def describe_slow(method: MethodReport) -> Iterator[str]:
    """Delegated ops that MLX is slow at, and what to use instead."""
    for slow in method.slow:
        times = f" x{slow.nodes}" if slow.nodes > 1 else ""
        yield f"{slow.op}{times}: {slow.why}. Instead: {slow.instead}."


def describe_what_ifs(report: CoverageReport) -> Iterator[str]:
    """Each plan that was made again, beside the one that there is."""
    crossed = sum(method.crossing_bytes for method in report.methods)
    for what_if in report.what_ifs:
        changes = []
        if what_if.total_bytes is not None:
            changes.append(
                f"{format_bytes(what_if.total_bytes)} of memory instead of "
                f"{format_bytes(report.memory.total_bytes)}"
            )
        if (what_if.delegated, what_if.partitions) == (report.delegated, report.partitions):
            changes.append("the same placement")
        else:
            changes.append(
                f"{what_if.delegated} of {format_count(report.nodes, 'node')} on MLX, "
                f"{format_count(what_if.partitions, 'partition')}"
            )
        if what_if.crossing_bytes != crossed:
            changes.append(
                f"{format_bytes(what_if.crossing_bytes)} of crossings instead of "
                f"{format_bytes(crossed)}"
            )
        yield f"{what_if.change}: {', '.join(changes)}"


def describe_refusals(report: CoverageReport) -> Iterator[tuple[Source, str]]:
    """The line and the sentence of each thing that the failed stage refuses."""
    failure = report.failure
    if failure is not None:
        for refusal in failure.refusals:
            yield refusal.source, f"{failure.name} failed: {refusal.sentence}"


def describe_verdict(counts: CoverageReport | MethodReport, report: CoverageReport) -> str:
    """`66.7 % on MLX (2 of 3 nodes), 1 partition, 1 fallback node`.

    Args:
        counts: the report, or one of its methods.
        report: says whether the program lowers.
    """
    if isinstance(counts, CoverageReport) and not counts.methods:
        return "n/a: no program was planned"
    if counts.nodes == 0:
        return "n/a: the program has no nodes to run"
    share = f"{format_share(counts.delegated, counts.nodes)} {describe_mood(report)}on MLX"
    return (
        f"{share} ({counts.delegated} of {format_count(counts.nodes, 'node')}), "
        f"{format_count(counts.partitions, 'partition')}, "
        f"{format_count(counts.nodes - counts.delegated, 'fallback node')}"
    )


def describe_mood(report: CoverageReport) -> str:
    """`would be `, where the program does not lower."""
    return "would be " if report.outcome == "does not lower" else ""


def describe_work(method: MethodReport) -> Iterator[str]:
    """Shares of FLOPs and bytes, what is not modelled, and what crosses between segments."""
    total, mlx = method.total, method.mlx
    if total.flops:
        yield f"{format_share(mlx.flops, total.flops)} of {format_flops(total.flops)}"
    elif not total.unmodelled:
        yield format_flops(0)
    yield f"{format_share(mlx.bytes, total.bytes)} of {format_bytes(total.bytes)} moved"
    if total.unmodelled:
        yield f"FLOPs of {format_count(total.unmodelled, 'node')} not modelled"
    estimated = [s for s in method.sizes if s.basis != "example inputs"]
    if estimated:
        named = ", ".join(f"{s.symbol} = {s.value}, its {s.basis}" for s in estimated[:_SIZES])
        further = ", …" if len(estimated) > _SIZES else ""
        yield f"sizes that depend on data: {named}{further}"
    if method.boundary:
        crossed = format_bytes(method.crossing_bytes)
        yield f"{crossed} in {format_count(len(method.boundary), 'crossing')}"


def describe_kernels(method: MethodReport, report: CoverageReport) -> Iterator[str]:
    """A sentence per fallback op that the runtime could not run, or would compute otherwise."""
    for op in method.kernels_missing:
        if report.outcome == "does not lower":
            yield f"ExecuTorch has no kernel for {op}."
        else:
            yield f"The program would not load: ExecuTorch has no kernel for {op}."
    for op in method.kernels_wrong:
        yield f"The program would give other numbers: ExecuTorch's kernel of {op} is wrong here."


def describe_blockers(method: MethodReport) -> Iterator[str]:
    """What the ops in the way would give, the most rewarding first, and then together."""
    for blocker in method.blockers[:_BLOCKERS]:
        gains = [f"{format_count(blocker.gained.nodes, 'node')} more on MLX"]
        if blocker.gained.flops:
            gains.append(format_flops(blocker.gained.flops))
        gains.append(format_count(blocker.partitions, "partition"))
        if blocker.crossing_bytes_saved > 0:
            gains.append(f"{format_bytes(blocker.crossing_bytes_saved)} of crossings saved")
        yield f"{blocker.op} ({blocker.slug}): {', '.join(gains)}"
    if len(method.way) > 1:
        last, count = method.way[-1], len(method.way)
        share = format_share(last.delegated, method.nodes)
        names = ", ".join(dict.fromkeys(step.op for step in method.way))
        partitions = format_count(last.partitions, "partition")
        together = "both together" if count == 2 else f"{count} together"
        yield f"{together} ({names}): {share} on MLX, {partitions}"


def describe_reach(finding: Finding) -> Iterator[str]:
    """Which ops and further lines the cause reaches, where there are several."""
    if len(finding.ops) > 1:
        counted = (f"{c.op} x{c.nodes}" if c.nodes > 1 else c.op for c in finding.ops)
        yield f"reaches {', '.join(counted)}"
    if finding.lines:
        places = [place.place for place in finding.lines]
        further = f" and {len(places) - _LINES} more" if len(places) > _LINES else ""
        yield f"and the lines {', '.join(places[:_LINES])}{further}"


def describe_fixes(finding: Finding) -> Iterator[str]:
    """What would mend it, and whether that was tried."""
    for fix in finding.fixes:
        yield f"{fix.title} ({'verified' if fix.verified else 'not verified'})"


def describe_cut(method: MethodReport) -> Iterator[str]:
    """That the search for what would help ended at its budget, and what was left out."""
    search = method.search
    if not search.is_cut:
        return
    parts = [f"The search stopped after placing {search.budget} nodes"]
    if search.untried:
        shown = search.untried[:_UNTRIED]
        named = [f"{each.op} ({each.slug}, {format_count(each.nodes, 'node')})" for each in shown]
        if len(shown) < len(search.untried):
            named.append(format_count(len(search.untried) - len(shown), "further blocker"))
        parts.append(f"not tried: {', '.join(named)}")
    tried = f"up to {len(method.way)} together" if method.way else "none"
    yield "; ".join(parts) + f"; combinations tried: {tried}."


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
        sentences = dict.fromkeys(
            finding.reason.sentence.removeprefix(f"{finding.op}: ") for finding in self.findings
        )
        ops: dict[str, int] = {}
        for finding in self.findings:
            counts = [(count.op, count.nodes) for count in finding.ops]
            for op, count in counts or [(finding.op, finding.count)]:
                ops[op] = ops.get(op, 0) + count
        named = ", ".join(f"{op} x{count}" if count > 1 else op for op, count in ops.items())
        allowed = self.findings[0].allowed
        accepted = "" if allowed is None else f" (allowed: {allowed})"
        verb = "falls" if self.nodes == 1 else "fall"
        return f"{named} {verb} back: {'; '.join(sentences)}{accepted}"


def group_by_line(findings: Iterable[Finding]) -> Sequence[LineFinding]:
    """One entry per source line and reason, the most nodes first."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        place = finding.source.place
        groups.setdefault((finding.reason.slug, place or f"::{finding.op}"), []).append(finding)
    lines = [LineFinding(members[0].source, tuple(members)) for members in groups.values()]
    return sorted(lines, key=lambda line: -line.nodes)
