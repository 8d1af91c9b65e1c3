"""The report's data: frozen dataclasses and JSON, nothing but the standard library.

Every renderer reads these and nothing else, so a saved JSON renders anywhere. A share is
kept as a fraction and turned into a percentage in one place, `format_share`.
"""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

SCHEMA_VERSION = 1

StageName = Literal["import", "export", "edge", "plan"]
StageStatus = Literal["ok", "failed", "not reached"]
STAGES: tuple[StageName, ...] = get_args(StageName)

Provenance = Literal["exact", "inherited", "none"]


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
class Finding:
    """Nodes that fall back for one primary reason at one line of source.

    Attributes:
        op: ATen name.
        count: number of nodes.
        reason: the primary reason.
        others: further reasons, which would remain if the primary one were mended.
        modules: where in the model.
        source: where in the user's files.
    """

    op: str
    count: int
    reason: ReasonText
    others: tuple[ReasonText, ...]
    modules: tuple[ModulePath, ...]
    source: Source


@dataclass(frozen=True)
class OpCount:
    """How often an op occurs, and how often it is delegated."""

    op: str
    nodes: int
    delegated: int


@dataclass(frozen=True)
class Segment:
    """A stretch of the lowered program, in the order in which it runs.

    Attributes:
        device: ``mlx`` for a partition, ``cpu`` for consecutive nodes that fall back.
        nodes: how many counted nodes it holds.
        partition: number of the partition, or None.
        ops: names and counts, the most frequent first.
    """

    device: Literal["mlx", "cpu"]
    nodes: int
    partition: int | None
    ops: tuple[OpCount, ...]


@dataclass(frozen=True)
class MethodReport:
    """One method of the program.

    Attributes:
        name: `forward`, unless the model has several methods.
        nodes: calls that are work (taking one of several results, and the assertions
            that export leaves behind, are not).
        delegated: how many of them the lowered program runs on MLX.
        partitions: number of delegate calls.
        findings: what falls back, the most frequent first.
        ops: every op that occurs.
        segments: partitions and stretches of fallback nodes, in order of execution.
    """

    name: str
    nodes: int
    delegated: int
    partitions: int
    findings: tuple[Finding, ...]
    ops: tuple[OpCount, ...]
    segments: tuple[Segment, ...]

    @property
    def fallback(self) -> int:
        """How many nodes stay with ExecuTorch."""
        return self.nodes - self.delegated


@dataclass(frozen=True)
class Stage:
    """How far the model came.

    Attributes:
        name: import, export, edge (ExecuTorch's own dialect) or plan.
        status: ok, failed or not reached.
        sentence: why it failed.
        source: the user's line that the failure points at.
    """

    name: StageName
    status: StageStatus
    sentence: str = ""
    source: Source = Source()


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
        schema_version: of the JSON.
    """

    model: str
    stages: tuple[Stage, ...]
    methods: tuple[MethodReport, ...]
    verified: bool
    versions: Versions
    schema_version: int = SCHEMA_VERSION

    @property
    def nodes(self) -> int:
        """Counted nodes of all methods."""
        return sum(method.nodes for method in self.methods)

    @property
    def delegated(self) -> int:
        """Delegated nodes of all methods."""
        return sum(method.delegated for method in self.methods)

    @property
    def partitions(self) -> int:
        """Partitions of all methods."""
        return sum(method.partitions for method in self.methods)

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


def format_count(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def to_json(report: CoverageReport) -> str:
    """The report as JSON text, fields in order of declaration: equal reports, equal bytes."""
    return json.dumps(dataclasses.asdict(report), indent=2, ensure_ascii=False) + "\n"


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
        return kind(**{n: _build(h, value[n], f"{where}.{n}") for n, h in hints.items()})
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
    # bool is an int in Python, and not in a schema.
    types = arguments if origin is UnionType else (kind,)
    if type(value) not in types:
        raise ReportFormatError(f"{where} is of type {type(value).__name__}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
