"""What a report estimates of a program: how much memory it takes, how fast it can be, what if."""

from dataclasses import dataclass
from typing import Literal

Limit = Literal["memory", "arithmetic"]


@dataclass(frozen=True)
class WeightBytes:
    """Weights of one dtype.

    Attributes:
        dtype: of the tensors in the model.
        tensors: how many, each once.
        bytes: as the program holds them: packed, where an entry packs them.
    """

    dtype: str
    tensors: int
    bytes: int


@dataclass(frozen=True)
class Fit:
    """Whether a program fits into a Mac.

    Attributes:
        machine: its memory, as it is sold.
        gpu_bytes: what macOS lets the GPU use of it, if nobody changes that.
        fits: whether weights, state and the largest working set are no more than that.
    """

    machine: str
    gpu_bytes: int
    fits: bool


@dataclass(frozen=True)
class Memory:
    """What a program takes, in bytes; from metadata, not measured.

    Attributes:
        weights: by dtype, the largest share first; a weight of several methods counts once.
        state_bytes: of the buffers that the program writes, such as caches.
        working_bytes: of the tensors that are alive at once, at most, at the example's sizes.
        upper_working_bytes: the same at the upper bounds of symbolic sizes; None where all sizes
            are fixed, or one has no upper bound.
        program_bytes: of the `.pte`, estimated.
        fits: for each amount of memory that Macs are sold with.
    """

    weights: tuple[WeightBytes, ...] = ()
    state_bytes: int = 0
    working_bytes: int = 0
    upper_working_bytes: int | None = None
    program_bytes: int = 0
    fits: tuple[Fit, ...] = ()

    @property
    def weight_bytes(self) -> int:
        """Weights of all dtypes."""
        return sum(weights.bytes for weights in self.weights)

    @property
    def total_bytes(self) -> int:
        """Weights, state and the largest working set."""
        working = max(self.working_bytes, self.upper_working_bytes or 0)
        return self.weight_bytes + self.state_bytes + working


@dataclass(frozen=True)
class Bound:
    """How fast one call can be on a chip.

    Attributes:
        chip: with its largest GPU.
        seconds: no call can be faster: what has to be moved over the published bandwidth of
            memory, or the arithmetic over the published throughput, whichever takes longer.
        unfused_seconds: the same for each node alone, summed: an estimate for a program in which
            nothing is fused and no cache helps.
        limit: which of the two `seconds` is.
        tokens_per_second: of a step of generation, at `seconds`; None for any other method.
        expected_seconds: `seconds` times the ratio that was measured; None without one.
    """

    chip: str
    seconds: float
    unfused_seconds: float
    limit: Limit
    tokens_per_second: float | None = None
    expected_seconds: float | None = None


@dataclass(frozen=True)
class Speed:
    """What a call of a method has to do at least, and how long that takes.

    Attributes:
        moved_bytes: weights, state, inputs and results, each once; of tables that are read by
            index, the rows.
        products: floating-point operations of matrix products, convolutions and attention.
        others: all others that are modelled.
        tokens: that a step of generation takes; 0 for any other method.
        bounds: for each chip.
    """

    moved_bytes: int = 0
    products: int = 0
    others: int = 0
    tokens: int = 0
    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True)
class SlowOp:
    """Delegated nodes that MLX is known to be slow at.

    Attributes:
        op: ATen name.
        nodes: how many.
        why: what was measured, and where that is published.
        instead: what to use.
    """

    op: str
    nodes: int
    why: str
    instead: str


@dataclass(frozen=True)
class WhatIf:
    """The plan made again with one thing changed.

    Attributes:
        change: option or dtype.
        delegated: nodes on MLX, of all methods.
        partitions: of all methods.
        crossing_bytes: that pass between segments, of all methods.
        total_bytes: `Memory.total_bytes`; None where it does not change.
    """

    change: str
    delegated: int
    partitions: int
    crossing_bytes: int
    total_bytes: int | None = None
