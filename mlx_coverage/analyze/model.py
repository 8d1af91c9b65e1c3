"""The report's data: frozen dataclasses and JSON, nothing but the standard library.

Every renderer reads these and nothing else, so a saved JSON renders anywhere. A share is
kept as a fraction and turned into a percentage in one place, `format_share`.
"""

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mlx_coverage.analyze.estimates import Memory, SlowOp, Speed, WhatIf

SCHEMA_VERSION = 4

StageName = Literal["import", "export", "edge", "plan"]
StageStatus = Literal["ok", "failed", "not reached"]
STAGES: tuple[StageName, ...] = get_args(StageName)

Provenance = Literal["exact", "inherited", "none"]
Device = Literal["mlx", "cpu"]
FixKind = Literal[
    "decomposition", "cast", "contiguous", "overload", "static", "module", "registration"
]
OpStanding = Literal["full", "partial", "gap", "none"]
WayEnd = Literal["complete", "steps", "budget"]
TargetName = Literal["mlx-coverage", "executorch"]
SizeBasis = Literal["example inputs", "upper bound", "lower bound"]
Outcome = Literal["lowers", "wrong numbers", "does not load", "does not lower", "not planned"]

# In columns of numbers: a figure that is not modelled, or an index that leads nowhere.
NONE = -1

_NUMBERS = re.compile(r"\[\n\s*-?\d+(?:,\n\s*-?\d+)*\n\s*\]")


class ReportFormatError(ValueError):
    """The JSON is not a coverage report of this schema version."""


@dataclass(frozen=True)
class Source:
    """Where in the user's own files a node comes from.

    Attributes:
        file: path, relative to the working directory where it lies below it; None when
            no line is known.
        line: number of the line, from 1.
        code: text of the line.
        provenance: ``exact``: the line itself calls the op, or a torch function that
            does; ``inherited``: the line calls an installed package that does, or belongs
            to a neighbour of the node; ``none``: no line is known.
        via: the line of the installed package, ``package/file.py:12``, for an inherited one.
    """

    file: str | None = None
    line: int | None = None
    code: str = ""
    provenance: Provenance = "none"
    via: str | None = None

    @property
    def place(self) -> str:
        """`file.py:12`, or an empty text."""
        return f"{self.file}:{self.line}" if self.file else ""


@dataclass(frozen=True)
class ReasonText:
    """One reason of the vocabulary, said of one node.

    Attributes:
        slug: stable public name.
        title: what is the case, in general.
        sentence: the actual and the accepted values.
        remedy: what usually helps.
        argument: the ATen argument that it is about.
        culprit: the op that caused it, for graph-level reasons.
    """

    slug: str
    title: str
    sentence: str
    remedy: str
    argument: str | None = None
    culprit: str | None = None


@dataclass(frozen=True)
class ModulePath:
    """A module of the model; the indices of identical layers are folded to `*`.

    Attributes:
        path: `layers.*.attention`; empty for the model itself.
        instances: how many modules the path stands for.
        nodes: how many nodes of the finding lie in them.
    """

    path: str
    instances: int
    nodes: int


@dataclass(frozen=True)
class Figures:
    """Work, in figures that add up: of one node, a module, a partition or a method.

    Sizes that are symbolic count as they were in the example inputs, and those that depend on
    data at their upper bound (`MethodReport.sizes`).

    Attributes:
        nodes: calls that are work; taking one of several results, and the assertions that
            export leaves behind, are not.
        flops: floating-point operations: of matrix products, convolutions and attention as
            torch's own `torch.utils.flop_counter` counts them, a multiply-add being two; one for
            each element that any other arithmetic writes, or a reduction reads. Ops that only
            move or make data have none.
        bytes: tensors read and written, each operand and each result once per node, the
            weights of a node among them; a view moves nothing.
        unmodelled: how many of the nodes do arithmetic that `flops` leaves out, having no model.
        unmodelled_bytes: bytes that those nodes write, as a measure of how much that is.
    """

    nodes: int = 0
    flops: int = 0
    bytes: int = 0
    unmodelled: int = 0
    unmodelled_bytes: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            self.nodes + other.nodes,
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.unmodelled + other.unmodelled,
            self.unmodelled_bytes + other.unmodelled_bytes,
        )

    def __sub__(self, other: "Figures") -> "Figures":
        return self + Figures(
            -other.nodes, -other.flops, -other.bytes, -other.unmodelled, -other.unmodelled_bytes
        )


@dataclass(frozen=True)
class Fix:
    """Something that brings the nodes of a finding to the delegate.

    Attributes:
        title: what to do, in one sentence.
        change: the code or option to write, or an empty text.
        verified: whether it was applied, exported, planned, run and compared with eager
            torch. What is not, is a proposal.
        evidence: what the verification found, or why there was none.
        kind: ``decomposition``: torch's own, which ExecuTorch does not use; ``cast``: to a
            dtype of MLX and back, or none to another; ``contiguous``: a row-major copy of the
            operand; ``overload``: another of the same op; ``static``: sizes that are no longer
            dynamic; ``module``: an equivalent one; ``registration``: an entry of a custom
            op, to be written.
        gained: how many more nodes run on MLX with it, in the whole method; fewer where the
            changed program has fewer.
        partitions_saved: how many fewer partitions there are with it.
        error: largest difference from eager torch that was measured, relative to the
            largest magnitude in an output; None where it was not run.
    """

    title: str
    change: str
    verified: bool
    evidence: str
    kind: FixKind = "decomposition"
    gained: int = 0
    partitions_saved: int = 0
    error: float | None = None


@dataclass(frozen=True)
class Finding:
    """Nodes that fall back for one cause.

    Mostly that is a primary reason at a line of source. A dtype that ops refuse from where it
    enters the program on is one cause, and so is a node beside which views stay.

    Attributes:
        op: ATen name; of the first node, where there are several ops.
        figures: the nodes, and their work.
        reason: the primary reason.
        others: further reasons, which would remain if the primary one were mended.
        modules: where in the model.
        source: where in the user's files; where the cause enters.
        fixes: what would mend it, the verified ones first.
        allowed: why a comment in the source says that this is accepted; None where none does.
        ops: every op of the nodes, that of `op` first.
        lines: the further places of the nodes.
    """

    op: str
    figures: Figures
    reason: ReasonText
    others: tuple[ReasonText, ...]
    modules: tuple[ModulePath, ...]
    source: Source
    fixes: tuple[Fix, ...] = ()
    allowed: str | None = None
    ops: tuple["OpCount", ...] = ()
    lines: tuple[Source, ...] = ()

    @property
    def count(self) -> int:
        """Number of nodes."""
        return self.figures.nodes


@dataclass(frozen=True)
class OpCount:
    """How often an op occurs, and how often it is delegated."""

    op: str
    nodes: int
    delegated: int


@dataclass(frozen=True)
class OpStatus:
    """What the registry holds for an op.

    Attributes:
        op: ATen name.
        standing: ``full``: conformance finds it equal to torch in the entry's whole
            domain; ``partial``: but for the limitations; ``gap``: known and not mapped;
            ``none``: not in the registry.
        notes: the limitations, or why it is a gap.
    """

    op: str
    standing: OpStanding
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A stretch of the program, in an order in which it can run.

    Attributes:
        device: ``mlx`` for a partition, ``cpu`` for the fallback nodes that can run
            between the partitions before and after.
        partition: number of the partition, from 0, or None.
        figures: its counted nodes, and their work.
        ops: names and counts, the most frequent first.
    """

    device: Device
    partition: int | None
    figures: Figures
    ops: tuple[OpCount, ...]

    @property
    def nodes(self) -> int:
        """How many counted nodes it holds."""
        return self.figures.nodes


@dataclass(frozen=True)
class Crossing:
    """Values that pass from one segment to another through ExecuTorch's memory.

    Values that a partition takes from, or gives to, another segment or the caller;
    constants and buffers that the delegate owns do not cross. A value counts once for
    each segment that reads it.

    Attributes:
        source: index into `MethodReport.segments`; -1 for the caller's inputs, and for
            buffers that ExecuTorch keeps.
        target: index into the segments; -1 for the program's outputs.
        tensors: how many tensors cross.
        bytes: their size.
        scalars: how many sizes and other numbers cross beside them.
        nodes: the counted nodes that made them: indices into the columns of
            `MethodReport.graph`.
    """

    source: int
    target: int
    tensors: int
    bytes: int
    scalars: int
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Module:
    """One row of the module tree; identical layers share a row.

    Attributes:
        path: `layers.*.attention`, or `layers.0-5.attention` where only some of the
            layers are alike; empty for the model itself.
        kind: class, with the name of the module that defines it.
        parent: index of the row above; -1 for the model itself.
        instances: how many modules the row stands for.
        total: work in these modules and those below, all instances together.
        mlx: the delegated part of it.
    """

    path: str
    kind: str
    parent: int
    instances: int
    total: Figures
    mlx: Figures


@dataclass(frozen=True)
class Place:
    """One module of the model in which nodes lie.

    Attributes:
        path: `layers.3.attention`, its own name; empty for the model itself.
        module: index of its row in `MethodReport.modules`.
    """

    path: str
    module: int


@dataclass(frozen=True)
class Graph:
    """Every counted node, as columns of equal length in the order of the program.

    Attributes:
        op: index into `MethodReport.ops`.
        place: index into `MethodReport.places`.
        source: index into `MethodReport.sources`.
        segment: index into `MethodReport.segments`.
        finding: index into `MethodReport.findings`; -1 for a delegated node.
        result: index into `results`.
        flops: as defined in `Figures`; -1 where not modelled.
        bytes: as defined in `Figures`.
        results: the different kinds of result: `float32 [1, 12, 64]`.
        edges_from, edges_to: one pair of node indices for each pair of nodes of which the
            second reads what the first made.
    """

    op: tuple[int, ...]
    place: tuple[int, ...]
    source: tuple[int, ...]
    segment: tuple[int, ...]
    finding: tuple[int, ...]
    result: tuple[int, ...]
    flops: tuple[int, ...]
    bytes: tuple[int, ...]
    results: tuple[str, ...]
    edges_from: tuple[int, ...]
    edges_to: tuple[int, ...]


@dataclass(frozen=True)
class Blocker:
    """What would change if an op that falls back for one reason were supported.

    Each figure is that of a plan made again, by the planner itself.

    Attributes:
        op: ATen name.
        slug: the primary reason.
        nodes: how many nodes fall back for it.
        others: slugs of further reasons, which would have to be mended as well.
        gained: work that would be delegated in addition, neighbours included.
        partitions: how many there would be.
        partitions_saved: how many fewer than now; negative where there would be more.
        crossing_bytes_saved: how much less would cross between segments.
    """

    op: str
    slug: str
    nodes: int
    others: tuple[str, ...]
    gained: Figures
    partitions: int
    partitions_saved: int
    crossing_bytes_saved: int


@dataclass(frozen=True)
class Step:
    """One step of a way to a better plan: the blocker that is mended next.

    The figures are those of the plan in which it and all blockers of earlier steps are
    supported.

    Attributes:
        op: ATen name.
        slug: the reason.
        delegated: counted nodes on MLX.
        gained: work delegated in addition to now.
        partitions: how many there are.
        crossing_bytes: what crosses between segments.
    """

    op: str
    slug: str
    delegated: int
    gained: Figures
    partitions: int
    crossing_bytes: int


@dataclass(frozen=True)
class Untried:
    """A blocker that a search for gains did not get to.

    Attributes:
        op: ATen name.
        slug: the primary reason.
        nodes: how many nodes fall back for it.
    """

    op: str
    slug: str
    nodes: int


@dataclass(frozen=True)
class SearchExtent:
    """How far the search for what would help went.

    Attributes:
        budget: how many nodes plans made again may hold in all; once spent, no further one is
            made.
        untried: blockers that were left out at the budget, the most frequent first.
        end: why the way ends: no blocker is left, it has its full number of steps, or the
            budget is spent.
    """

    budget: int
    untried: tuple[Untried, ...]
    end: WayEnd

    @property
    def is_cut(self) -> bool:
        """Whether the budget ended it."""
        return bool(self.untried) or self.end == "budget"


@dataclass(frozen=True)
class Constants:
    """Parameters, buffers that nothing writes, and constants; each tensor once.

    Attributes:
        tensors, bytes: of all that a counted node reads.
        mlx_bytes: of those that a delegated node reads.
        cpu_bytes: of those that a fallback node reads; what both read is in both.
        state_bytes: of the buffers that the program writes, which are not in the others.
    """

    tensors: int = 0
    bytes: int = 0
    mlx_bytes: int = 0
    cpu_bytes: int = 0
    state_bytes: int = 0


@dataclass(frozen=True)
class SizeHint:
    """A symbolic size, and the value at which FLOPs and bytes were computed.

    Attributes:
        symbol: `s77`.
        value: the size.
        basis: ``example inputs``: it has that size in them; ``upper bound``: it depends on
            data, and can be no larger; ``lower bound``: it depends on data and has no upper
            bound, and counts as the least that it can be, but not as 0.
    """

    symbol: str
    value: int
    basis: SizeBasis = "example inputs"


@dataclass(frozen=True)
class MethodReport:
    """One method of the program.

    Attributes:
        name: `forward`, unless the model has several methods.
        total: all work of the method.
        mlx: the part that the lowered program runs on MLX.
        partitions: number of delegate calls.
        findings: what falls back, the most frequent first.
        ops: every op that occurs, the most frequent first.
        segments: partitions and stretches of fallback nodes, in order of execution.
        crossings: values that pass between segments, in order of execution.
        modules: the module tree, each row after its parent.
        places: the modules that nodes lie in, by their own names.
        sources: the different places in source that nodes come from.
        graph: every node.
        blockers: what keeps nodes off the delegate, the most rewarding first: by partitions
            saved, FLOPs, nodes and bytes gained.
        way: which blockers to mend one after the other, greedily, in a few steps.
        search: how far the search for these two went.
        constants: weights.
        sizes: symbolic sizes that the figures were computed at.
        kernels_missing: fallback ops that the installed ExecuTorch runtime has no kernel
            for: a program with one does not load.
        kernels_wrong: fallback ops whose kernels in ExecuTorch give other results than torch.
        speed: how fast a call can be, at the example's sizes.
        step: how fast a step of generation can be: a method that keeps caches, given one token
            more; None for any other method.
        slow: delegated ops that MLX is known to be slow at.
    """

    name: str
    total: Figures
    mlx: Figures
    partitions: int
    findings: tuple[Finding, ...]
    ops: tuple[OpCount, ...]
    segments: tuple[Segment, ...]
    crossings: tuple[Crossing, ...]
    modules: tuple[Module, ...]
    places: tuple[Place, ...]
    sources: tuple[Source, ...]
    graph: Graph
    blockers: tuple[Blocker, ...]
    way: tuple[Step, ...]
    search: SearchExtent
    constants: Constants
    sizes: tuple[SizeHint, ...]
    kernels_missing: tuple[str, ...]
    kernels_wrong: tuple[str, ...] = ()
    speed: Speed = dataclasses.field(default_factory=Speed)
    step: Speed | None = None
    slow: tuple[SlowOp, ...] = ()

    @property
    def nodes(self) -> int:
        """Counted nodes."""
        return self.total.nodes

    @property
    def delegated(self) -> int:
        """How many of them the lowered program runs on MLX."""
        return self.mlx.nodes

    @property
    def fallback(self) -> int:
        """How many nodes stay with ExecuTorch."""
        return self.nodes - self.delegated

    @property
    def cpu(self) -> Figures:
        """The work that stays with ExecuTorch."""
        return self.total - self.mlx

    @property
    def boundary(self) -> tuple[Crossing, ...]:
        """The crossings between segments, the caller's inputs and outputs left out."""
        return tuple(c for c in self.crossings if NONE not in (c.source, c.target))

    @property
    def crossing_bytes(self) -> int:
        """Bytes that cross between segments, the caller's inputs and outputs left out."""
        return sum(crossing.bytes for crossing in self.boundary)


@dataclass(frozen=True)
class Excerpt:
    """Consecutive lines of a source file.

    Attributes:
        first: number of the first line, from 1.
        lines: their text, without line ends.
    """

    first: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class SourceFile:
    """A file that nodes come from.

    Attributes:
        file: as in `Source.file` and before the colon of `Source.via`.
        own: whether it is the user's, rather than of an installed package.
        excerpts: the functions that hold the lines (a few lines around each, where a
            function is long), in order, not overlapping.
    """

    file: str
    own: bool
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True)
class Refusal:
    """Why a stage refuses the model.

    Attributes:
        sentence: in one sentence.
        source: the user's line.
        slug: the reason.
    """

    sentence: str
    source: Source
    slug: str


@dataclass(frozen=True)
class Stage:
    """How far the model came.

    Attributes:
        name: import, export, edge (ExecuTorch's own dialect) or plan.
        status: ok, failed or not reached.
        sentence: why it failed.
        source: the user's line that the failure points at.
        slug: the reason, for a stage that failed.
        further: what else the stage refuses.
    """

    name: StageName
    status: StageStatus
    sentence: str = ""
    source: Source = Source()
    slug: str = ""
    further: tuple[Refusal, ...] = ()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All that it refuses; none where it did not fail."""
        if self.status != "failed":
            return ()
        return (Refusal(self.sentence, self.source, self.slug), *self.further)


@dataclass(frozen=True)
class Suppression:
    """A comment in the source that accepts what falls back at its line.

    Attributes:
        file: as in `Source.file`.
        line: number of the comment's line, from 1.
        slugs: the reasons that it names.
        why: what it says for itself.
        problem: what is wrong with it, in one sentence; empty where it does its work.
    """

    file: str
    line: int
    slugs: tuple[str, ...]
    why: str
    problem: str = ""


@dataclass(frozen=True)
class Versions:
    """What the report was made with."""

    mlx_coverage: str
    torch: str
    executorch: str


@dataclass(frozen=True)
class CoverageReport:
    """What `mlx-coverage check` found.

    Attributes:
        model: the model as it was named on the command line.
        stages: import, export, edge, plan, in this order.
        methods: one entry for each method that reached the plan.
        verified: whether the model was also lowered in full, with the nodes inside the
            delegates found to be exactly those of the plan.
        versions: of this tool, torch and executorch.
        statuses: what the registry holds for each op that occurs, sorted by name.
        files: source of the lines that nodes come from, sorted by name.
        missing: parts of the report that could not be made, one sentence each.
        suppressions: comments in the source that accept a fallback.
        target: whose plan it is: this package's, or that of ExecuTorch's own MLX delegate,
            of which `statuses` and `MethodReport.blockers` say nothing.
        remarks: what is to be known before the figures, one sentence each: a model in training
            mode, a dynamic size without an upper bound.
        memory: what the program takes, and whether it fits.
        what_ifs: plans made again with one thing changed.
        schema_version: of the JSON.
        outcome: what becomes of the program; shares of one that does not lower say what would
            be delegated if it did.
    """

    model: str
    stages: tuple[Stage, ...]
    methods: tuple[MethodReport, ...]
    verified: bool
    versions: Versions
    statuses: tuple[OpStatus, ...] = ()
    files: tuple[SourceFile, ...] = ()
    missing: tuple[str, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    target: TargetName = "mlx-coverage"
    remarks: tuple[str, ...] = ()
    memory: Memory = dataclasses.field(default_factory=Memory)
    what_ifs: tuple[WhatIf, ...] = ()
    schema_version: int = SCHEMA_VERSION
    outcome: Outcome = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """The outcome follows from the stages and the methods."""
        outcome: Outcome = "lowers"
        if not self.methods:
            outcome = "not planned"
        elif self.failure is not None:
            outcome = "does not lower"
        elif any(method.kernels_missing for method in self.methods):
            outcome = "does not load"
        elif any(method.kernels_wrong for method in self.methods):
            outcome = "wrong numbers"
        object.__setattr__(self, "outcome", outcome)

    @property
    def total(self) -> Figures:
        """The work of all methods."""
        return sum((method.total for method in self.methods), Figures())

    @property
    def mlx(self) -> Figures:
        """The delegated work of all methods."""
        return sum((method.mlx for method in self.methods), Figures())

    @property
    def nodes(self) -> int:
        """Counted nodes of all methods."""
        return self.total.nodes

    @property
    def delegated(self) -> int:
        """Delegated nodes of all methods."""
        return self.mlx.nodes

    @property
    def partitions(self) -> int:
        """Partitions of all methods."""
        return sum(method.partitions for method in self.methods)

    @property
    def is_whole(self) -> bool:
        """Whether each method that has work is one delegate, with nothing beside it."""
        methods = [method for method in self.methods if method.nodes]
        return bool(methods) and all(
            len(m.segments) == 1 and m.delegated == m.nodes for m in methods
        )

    @property
    def failure(self) -> Stage | None:
        """The stage that failed, if one did."""
        return next((stage for stage in self.stages if stage.status == "failed"), None)


@dataclass(frozen=True)
class OpEntry:
    """One op of the registry, in words.

    Attributes:
        op: ATen name.
        schema: torch's own schema.
        family: the file of `registry/ops` that holds it.
        domain: one sentence per rule; empty for a gap.
        limitations: known differences from torch.
        gap: why the op is not mapped; None for an entry.
    """

    op: str
    schema: str
    family: str
    domain: tuple[str, ...]
    limitations: tuple[str, ...]
    gap: str | None = None


@dataclass(frozen=True)
class ReasonEntry:
    """One reason of the vocabulary, at length.

    Attributes:
        slug: stable public name.
        title: what is the case, in one sentence.
        meaning: when it is given, and what follows.
        remedy: what usually helps.
        hint: what to do where no example can show it; may be empty.
        example: a model file that falls back for it; may be empty.
        better: the same model, rewritten so that it does not; may be empty.
        options: arguments of `mlx-coverage check` that the example needs.
    """

    slug: str
    title: str
    meaning: str
    remedy: str
    hint: str = ""
    example: str = ""
    better: str = ""
    options: str = ""


def format_share(part: int, whole: int) -> str:
    """A percentage that says 0 % or 100 % only when that is exactly true.

    Examples:
        >>> format_share(2, 3), format_share(9999, 10000), format_share(0, 0)
        ('66.7 %', '99.9 %', 'n/a')
    """
    if whole == 0:
        return "n/a"
    if part in (0, whole):
        return "100 %" if part else "0 %"
    return f"{min(max(round(100 * part / whole, 1), 0.1), 99.9):.1f} %"


def format_count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def format_bytes(number: int) -> str:
    """A size with a binary prefix: `512 B`, `3.9 MiB`."""
    return _scale(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def format_flops(number: int) -> str:
    """Floating-point operations with a decimal prefix: `44.4 MFLOP`."""
    return _scale(number, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def format_seconds(seconds: float) -> str:
    """A time with a prefix: `12.3 ms`, `450 us`."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1 or unit == "us":
            return f"{seconds * scale:.3g} {unit}"
    raise AssertionError


def _scale(number: int, base: int, units: tuple[str, ...]) -> str:
    value, step = float(number), 0
    # 999.95 would round to 1000.0.
    while abs(value) >= base - 0.05 and step + 1 < len(units):
        value, step = value / base, step + 1
    return f"{value:.1f} {units[step]}" if step else f"{number} {units[0]}"


def to_json(report: CoverageReport) -> str:
    """The report as JSON text, which `from_json` reads."""
    return write_json(report)


def write_json(value: Any) -> str:
    """A dataclass as JSON text, fields in order of declaration: equal values, equal bytes."""
    text = json.dumps(dataclasses.asdict(value), indent=2, ensure_ascii=False)
    # Columns of numbers go on one line; a line end inside a string would be escaped.
    return _NUMBERS.sub(lambda match: "".join(match[0].split()), text) + "\n"


def from_json(text: str) -> CoverageReport:
    """The report that `to_json` wrote.

    Raises:
        ReportFormatError: the text is something else, or of another schema version.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportFormatError(f"the report is not JSON: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise ReportFormatError(
            f"the report has schema version {version}; accepted: {SCHEMA_VERSION}"
        )
    report = _build(CoverageReport, data, "report")
    assert isinstance(report, CoverageReport)
    return report


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            raise ReportFormatError(f"{where} is not an object with {', '.join(hints)}")
        given = {field.name for field in dataclasses.fields(kind) if field.init}
        parts = {n: _build(h, value[n], f"{where}.{n}") for n, h in hints.items()}
        return kind(**{name: part for name, part in parts.items() if name in given})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ReportFormatError(f"{where} is not a list")
        return tuple(_build(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Literal:
        accepted: Iterable[Any] = arguments
        if value not in accepted:
            raise ReportFormatError(f"{where} is {value!r}; accepted: {', '.join(accepted)}")
        return value
    inner = next((kind for kind in arguments if dataclasses.is_dataclass(kind)), None)
    if inner is not None and value is not None:
        return _build(inner, value, where)
    # bool is an int in Python, and not in a schema.
    types = arguments if origin is UnionType else (kind,)
    if type(value) not in types:
        raise ReportFormatError(f"{where} is of type {type(value).__name__}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
