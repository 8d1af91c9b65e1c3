"""Two delegates side by side: what each takes of a model. Nothing but dataclasses."""

from collections.abc import Iterator
from dataclasses import dataclass

from mlx_coverage.analyze.model import CoverageReport, ReasonText, Source, Stage

SCHEMA_VERSION = 2

DISPUTED = "claimed; known to differ"
DISPUTED_MEANS = (
    "ExecuTorch's delegate takes the call, which lies outside the domain in which mlx-coverage "
    "found MLX to do as torch does, for the reason given."
)


@dataclass(frozen=True)
class Line:
    """A line of source, and how many of the nodes come from it.

    Attributes:
        source: the line; of nodes without one, all together.
        nodes: how many there are.
    """

    source: Source
    nodes: int


@dataclass(frozen=True)
class Remark:
    """A reason, and of how many nodes it is given.

    Attributes:
        reason: what is said.
        nodes: of how many nodes.
        lines: where they come from.
    """

    reason: ReasonText
    nodes: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Share:
    """What one delegate takes of an op or a method.

    Attributes:
        nodes: how many there are in the program as it is lowered for this delegate; the two
            have ops decomposed differently.
        delegated: how many of them it takes.
        remarks: why not the others, the most frequent first.
    """

    nodes: int = 0
    delegated: int = 0
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class OpContrast:
    """One op.

    Attributes:
        op: ATen name; the functional one also where ExecuTorch's delegate works in place.
        ours: by this package's delegate.
        theirs: by ExecuTorch's own.
        disputed: calls that theirs takes and the registry refuses, since they lie outside
            the domain in which MLX does as torch does.
    """

    op: str
    ours: Share
    theirs: Share
    disputed: tuple[Remark, ...] = ()

    @property
    def agreed(self) -> bool:
        """Whether both take every node, and rightly."""
        return not self.disputed and all(s.nodes == s.delegated for s in (self.ours, self.theirs))


@dataclass(frozen=True)
class MethodContrast:
    """One method.

    Attributes:
        name: `forward`, unless the model has several methods.
        ours, theirs: all ops together, without remarks.
        our_partitions, their_partitions: how many delegate calls there are.
        ops: those that differ first, then by their number of nodes.
    """

    name: str
    ours: Share
    theirs: Share
    our_partitions: int
    their_partitions: int
    ops: tuple[OpContrast, ...]

    @property
    def disputed(self) -> int:
        """How many nodes ExecuTorch's delegate takes outside our domain."""
        return sum(remark.nodes for row in self.ops for remark in row.disputed)


@dataclass(frozen=True)
class Contrast:
    """What `mlx-coverage check --target both` found.

    Attributes:
        ours: the report of this package's delegate.
        theirs: that of ExecuTorch's own, of the same model.
        methods: the two side by side; none where one of them did not reach the plan.
        schema_version: of the JSON.
    """

    ours: CoverageReport
    theirs: CoverageReport
    methods: tuple[MethodContrast, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def failures(self) -> Iterator[tuple[CoverageReport, Stage]]:
        """Each report with the stage that failed in it."""
        for report in (self.ours, self.theirs):
            if report.failure is not None:
                yield report, report.failure
