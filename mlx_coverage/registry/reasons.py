"""The closed vocabulary of reasons why a node, or a model, does not run on MLX.

A slug is public and stable: tools filter on it and suppressions name it. Renaming
one needs a line in the changelog.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ReasonKind:
    """One entry of the vocabulary.

    Attributes:
        slug: stable public name, ``level/name``.
        title: one sentence saying what is the case.
        remedy: one sentence saying what usually helps.
    """

    slug: str
    title: str
    remedy: str

    @property
    def level(self) -> str:
        """``op``, ``plan``, ``runtime``, ``upstream`` or ``export``."""
        return self.slug.partition("/")[0]


@dataclass(frozen=True)
class Reason:
    """Why one node (or one model) is not supported or not placed.

    Attributes:
        kind: the entry of the vocabulary.
        text: one sentence with the actual and the accepted values.
        argument: the ATen argument that the reason is about, or None.
        culprit: the graph node that caused it, for graph-level reasons, or None.
        advice: what helps in this case, where it is not what usually helps.
    """

    kind: ReasonKind
    text: str
    argument: str | None = None
    culprit: str | None = None
    advice: str | None = None

    @property
    def slug(self) -> str:
        """The stable public name of the reason."""
        return self.kind.slug

    @property
    def remedy(self) -> str:
        """What helps: the advice of the case, or what usually helps."""
        return self.advice or self.kind.remedy


NO_ENTRY = ReasonKind(
    "op/no-entry",
    "The registry has no entry for the op.",
    "Rewrite with supported ops, or add an entry (CONTRIBUTING.md: one file).",
)
KNOWN_GAP = ReasonKind(
    "op/known-gap",
    "The op is known and deliberately not mapped.",
    "Rewrite the computation without the op; the entry says why MLX cannot express it.",
)
MISSING_METADATA = ReasonKind(
    "op/missing-metadata",
    "The node carries no tensor metadata to judge it by.",
    "Export the model again; a graph pass dropped the `val` metadata of the node.",
)
HIGHER_ORDER = ReasonKind(
    "op/higher-order",
    "Control flow (cond, while_loop, map, scan) stays with ExecuTorch.",
    "Use a branch-free form such as torch.where, or unroll the loop.",
)
MUTATION = ReasonKind(
    "op/mutation",
    "The op writes into its input.",
    "Call a functional op that returns the new value, and assign it; export functionalises ATen "
    "ops and mutations of buffers by itself.",
)
DATA_DEPENDENT = ReasonKind(
    "op/data-dependent-shape",
    "The size of the result depends on the values of the input.",
    "Use a form of fixed size, such as torch.where with the mask or topk with a bound, or select "
    "outside of the model.",
)
RANDOM = ReasonKind(
    "op/random",
    "The op draws random numbers.",
    "Pass the random tensor as an input, or disable dropout with model.eval().",
)
DTYPE = ReasonKind(
    "op/dtype",
    "An operand has a dtype outside the entry's domain.",
    "Cast the operand to one of the accepted dtypes where that keeps its values.",
)
MIXED_DTYPE = ReasonKind(
    "op/mixed-dtype",
    "Operands that must share a dtype do not.",
    "Cast the operands to one dtype.",
)
RANK = ReasonKind(
    "op/rank",
    "An operand has a number of dimensions outside the entry's domain.",
    "Reshape the operand.",
)
ZERO_SIZE = ReasonKind(
    "op/zero-size",
    "An operand has no elements.",
    "Skip the op when the tensor is empty.",
)
ARGUMENT_VALUE = ReasonKind(
    "op/argument-value",
    "An argument has a value outside the entry's domain.",
    "Use one of the accepted values.",
)
DYNAMIC_ARGUMENT = ReasonKind(
    "op/dynamic-argument",
    "An argument that must be known at export depends on a dynamic size or on data.",
    "Make the size static, or compute the argument from constants.",
)
CONSTANT_OPERAND = ReasonKind(
    "op/constant-operand",
    "An operand that must be a constant of the program is computed.",
    "Store the operand as a parameter or buffer of the module.",
)
LAYOUT = ReasonKind(
    "op/layout",
    "A memory layout that the entry does not take.",
    "Call .contiguous() before the op.",
)
SMALL_ISLAND = ReasonKind(
    "plan/small-island",
    "The node is supported, but its partition is too small to pay for a boundary.",
    "Lower the partitioner's min_partition_size, or remove the fallback beside it.",
)
EXCLUDED = ReasonKind(
    "plan/excluded",
    "The user kept the op or node off the delegate.",
    "Remove it from the partitioner's exclude_ops or exclude_node.",
)
OTHER_DELEGATE = ReasonKind(
    "plan/other-delegate",
    "Another partitioner took the node first.",
    "Put MLXPartitioner first in the list of partitioners.",
)
NEIGHBOURS = ReasonKind(
    "plan/only-neighbours-fall-back",
    "The node moves no data, so it stays beside the nodes that fall back.",
    "Support the fallback node named as the culprit.",
)
UPSTREAM = ReasonKind(
    "upstream/unsupported",
    "ExecuTorch's own MLX delegate does not take the node.",
    "Rewrite with ops that it takes, or lower with mlx-coverage (--target both compares).",
)
IMPORT_FAILED = ReasonKind(
    "export/import",
    "The model could not be imported.",
    "Run the model file with Python and mend the error it prints.",
)
EXPORT_FAILED = ReasonKind(
    "export/export",
    "torch.export could not capture the model.",
    "Mend the line that torch.export names.",
)
DECOMPOSITION_FAILED = ReasonKind(
    "export/decomposition",
    "ExecuTorch could not bring the exported program to its edge dialect.",
    "Mend or avoid the op that the message names.",
)
INTERFACE = ReasonKind(
    "export/interface",
    "ExecuTorch does not take what the model takes or returns.",
    "Change the input or the output that the message names.",
)
SHARED_BUFFER = ReasonKind(
    "export/shared-buffer",
    "A mutable buffer of a program with several methods can be kept by no one for all of them.",
    "Keep what reads and writes the buffer on MLX, or start it at zeros.",
)
NO_KERNEL = ReasonKind(
    "runtime/no-kernel",
    "A fallback op has no kernel in the ExecuTorch runtime, so the program would not load.",
    "Link a kernel for the op, or rewrite it with supported ops.",
)
WRONG_KERNEL = ReasonKind(
    "runtime/wrong-kernel",
    "A fallback op's kernel in the ExecuTorch runtime gives other results than torch.",
    "Rewrite the line with other ops, or keep the op on the delegate.",
)

# The order is the precedence: the first of a node's reasons in this order is its primary one.
KINDS: tuple[ReasonKind, ...] = (
    OTHER_DELEGATE,
    EXCLUDED,
    HIGHER_ORDER,
    RANDOM,
    DATA_DEPENDENT,
    MUTATION,
    KNOWN_GAP,
    NO_ENTRY,
    MISSING_METADATA,
    DTYPE,
    MIXED_DTYPE,
    RANK,
    ZERO_SIZE,
    ARGUMENT_VALUE,
    DYNAMIC_ARGUMENT,
    CONSTANT_OPERAND,
    LAYOUT,
    NEIGHBOURS,
    SMALL_ISLAND,
    NO_KERNEL,
    WRONG_KERNEL,
    UPSTREAM,
    IMPORT_FAILED,
    EXPORT_FAILED,
    DECOMPOSITION_FAILED,
    INTERFACE,
    SHARED_BUFFER,
)
BY_SLUG: dict[str, ReasonKind] = {kind.slug: kind for kind in KINDS}
_PRECEDENCE = {kind: position for position, kind in enumerate(KINDS)}


def order_reasons(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Sort by precedence, the primary reason first, duplicates removed."""
    return tuple(sorted(dict.fromkeys(reasons), key=lambda reason: _PRECEDENCE[reason.kind]))
