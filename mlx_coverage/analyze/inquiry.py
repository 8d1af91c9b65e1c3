"""What `check --op` finds of one op: frozen dataclasses, nothing but the standard library."""

from dataclasses import dataclass
from typing import Literal

from mlx_coverage.analyze.model import OpEntry, OpStanding

# Whose decomposition replaces a call of the op before support is judged.
Decomposer = Literal["registry", "composite", "executorch", "torch", "none"]


@dataclass(frozen=True)
class OpPart:
    """An op of the program that one call becomes.

    Attributes:
        op: ATen name.
        nodes: how often it occurs.
        delegated: how many of these run on MLX.
        reasons: why the others do not: slug and sentence of each primary reason.
    """

    op: str
    nodes: int
    delegated: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class OpInquiry:
    """What the registry holds for an op, what becomes of a call, and what an entry needs.

    Attributes:
        op: name of the overload.
        schema: as torch prints it.
        standing: as in `OpStatus`.
        entry: the entry or gap, in words; None where the registry has neither.
        decomposer: ``registry``: a decomposition declared by a plug-in; ``composite``: the
            op's own CompositeImplicitAutograd kernel; ``executorch``: the table that
            ExecuTorch lowers with; ``torch``: `torch._decomp.decomposition_table`
            alone; ``none``: the op stays as it is.
        example: the call that was planned; empty where none could be.
        parts: what the plan holds for it, in order of first occurrence.
        problem: why no call could be planned, in one sentence; empty where one was.
        obstacles: what an entry cannot mend, one sentence each.
        skeleton: a declaration to fill in; empty where the registry has an entry, where all
            parts run on MLX, and where an obstacle makes an entry useless.
    """

    op: str
    schema: str
    standing: OpStanding
    entry: OpEntry | None
    decomposer: Decomposer
    example: str
    parts: tuple[OpPart, ...]
    problem: str
    obstacles: tuple[str, ...]
    skeleton: str
