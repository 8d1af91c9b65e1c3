"""Two delegates side by side: what each takes of a model. Nothing but dataclasses."""

from dataclasses import dataclass

from mlx_coverage.analyze.model import Versions


@dataclass(frozen=True)
class Remark:
    """A reason, and of how many nodes it is given.

    Attributes:
        slug: stable public name of the reason.
        sentence: what is said.
        nodes: of how many nodes.
        places: the lines of source they come from, `file.py:12`.
    """

    slug: str
    sentence: str
    nodes: int
    places: tuple[str, ...]


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


@dataclass(frozen=True)
class Contrast:
    """What `mlx-coverage check --target both` found.

    Attributes:
        model: as it was named on the command line.
        versions: what it was made with.
        methods: of the model.
    """

    model: str
    versions: Versions
    methods: tuple[MethodContrast, ...]
