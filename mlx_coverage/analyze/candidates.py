"""Changes that may bring fallback nodes to the delegate; each is tried by `fixes`.

Some are rewrites of calls, which the partitioner applies; others change the model, or how it
is exported, and need it exported again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.capture import export_methods
from mlx_coverage.analyze.edits import Edit, list_edits
from mlx_coverage.analyze.equivalents import Exchange, list_exchanges
from mlx_coverage.analyze.hierarchy import list_modules
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.model import FixKind
from mlx_coverage.analyze.pinning import Pin, list_input_symbols, list_symbols_read, pin_sizes
from mlx_coverage.lowering.plan import PartitionPlan, Rewrite
from mlx_coverage.lowering.rewriting import (
    CASTS,
    Cast,
    Contiguous,
    Decompose,
    Overload,
    list_overloads,
)
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import canonicalize, name_node, name_target
from mlx_coverage.registry.dtypes import name_dtype
from mlx_coverage.registry.judge import Unsupported
from mlx_coverage.registry.spec import Registry

# Name of an op, and slug of the primary reason why it falls back.
Key = tuple[str, str]

# Of dynamic sizes that meet in one call, combinations are tried: no more than of these.
_MOST_SIZES = 4


@dataclass(frozen=True)
class Candidate:
    """One thing to try.

    Attributes:
        kind: what kind of thing.
        title: what to do, in one sentence.
        change: the code or option to write.
        rewrite: what the partitioner is to apply.
        apply: the model changed, while in its context: to be exported anew.
        wanted: the finding that it is for; where that one is mended in this way already,
            there is no need to try.
        computed_in: dtype of parts of the computation, where it is not that of the outputs.
    """

    kind: FixKind
    title: str
    change: str
    rewrite: Rewrite | None = None
    apply: Callable[[Exportable], AbstractContextManager[Exportable]] | None = None
    wanted: Key | None = None
    computed_in: torch.dtype | None = None


def list_candidates(
    given: Exportable | ExportedProgram,
    program: ExportedProgram,
    plan: PartitionPlan,
    registry: Registry,
) -> Iterator[Candidate]:
    """Each candidate once; whether it does anything is seen when it is tried.

    Args:
        given: the method, as it was opened.
        program: exported from it.
        plan: without any of the candidates.
        registry: that the plan was made by.
    """
    if isinstance(given, Exportable):
        yield from map(_describe_edit, list_edits(program))
    yield from _list_rewrites(plan, registry)
    if isinstance(given, Exportable):
        yield from _list_pins(program, plan)
        yield from _list_replacements(given, plan)


def _list_rewrites(plan: PartitionPlan, registry: Registry) -> Iterator[Candidate]:
    seen: set[Any] = set()
    for node, verdict in plan.verdicts.items():
        if not isinstance(verdict, Unsupported):
            continue
        op = canonicalize(node.target)
        key = (name_target(op), verdict.primary.slug)
        decompose = Decompose(key)
        if key not in seen:
            seen.add(key)
            if decompose.write(node, verdict) is not None:
                yield _describe_decomposition(decompose, key[0])
            if isinstance(op, OpOverload):
                yield from (
                    _describe_overload(Overload(op, other))
                    for other in list_overloads(op, registry)
                )
        if Contiguous not in seen and Contiguous().write(node, verdict) is not None:
            seen.add(Contiguous)
            yield _CONTIGUOUS
        operands = pytree.tree_leaves([n.meta.get("val") for n in node.all_input_nodes])
        for dtype in {v.dtype for v in operands if isinstance(v, torch.Tensor)} & CASTS.keys():
            if dtype not in seen and Cast(dtype).write(node, verdict) is not None:
                seen.add(dtype)
                yield _describe_cast(Cast(dtype), key)


_CONTIGUOUS = Candidate(
    "contiguous",
    "Copy the operand to row-major order before the op.",
    "x = x.contiguous()  # x.clone() where it is a slice that is contiguous in itself",
    Contiguous(),
)


def _describe_decomposition(decompose: Decompose, op: str) -> Candidate:
    return Candidate(
        "decomposition",
        f"Decompose {op} as torch does, into ops that MLX has; ExecuTorch keeps it.",
        "MLXPartitioner(fix_decompositions=True)",
        decompose,
    )


def _describe_overload(overload: Overload) -> Candidate:
    old, new = name_target(overload.op), name_target(overload.instead)
    arguments = ", ".join(argument.name for argument in overload.instead._schema.arguments)
    title, change = f"Call {new} instead of {old}.", f"torch.ops.{new}({arguments})"
    return Candidate("overload", title, change, overload)


def _describe_edit(edit: Edit) -> Candidate:
    computed_in = CASTS[edit.dtype]
    return Candidate("cast", edit.title, edit.change, apply=edit.apply, computed_in=computed_in)


def _describe_cast(cast: Cast, key: Key) -> Candidate:
    wide, narrow = name_dtype(cast.dtype), name_dtype(cast.instead)
    return Candidate(
        "cast",
        f"Compute in {narrow} instead of {wide}.",
        f"x = x.to(torch.{narrow})  # and y.to(torch.{wide}) after, where {wide} is needed",
        cast,
        wanted=key,
        computed_in=cast.instead,
    )


def _list_pins(program: ExportedProgram, plan: PartitionPlan) -> Iterator[Candidate]:
    known = list_input_symbols(program)
    wanted: defaultdict[Key, set[str]] = defaultdict(set)
    for node, verdict in plan.verdicts.items():
        if isinstance(verdict, Unsupported) and verdict.primary.kind is reasons.DYNAMIC_ARGUMENT:
            key = (name_node(node), verdict.primary.slug)
            wanted[key] |= list_symbols_read(node) & known.keys()
    for key, symbols in wanted.items():
        # The fewest first: what can stay dynamic, should.
        for count in range(1, min(len(symbols), _MOST_SIZES) + 1):
            for chosen in combinations(sorted(symbols), count):
                pins = [pin for symbol in chosen for pin in known[symbol]]
                yield _describe_pins(program, pins, key)


def _describe_pins(program: ExportedProgram, pins: Sequence[Pin], key: Key) -> Candidate:
    named = ", ".join(f"dimension {pin.dim} of {pin.name} ({pin.size})" for pin in pins)
    lines = (
        f'dynamic_shapes["{pin.name}"][{pin.dim}] = Dim.STATIC  # always {pin.size}' for pin in pins
    )
    return Candidate(
        "static",
        f"Export with the size of the example: {named}.",
        "\n".join(lines),
        apply=lambda given: nullcontext(pin_sizes(given, program, pins)),
        wanted=key,
    )


def join_replacements(
    given: Exportable | ExportedProgram, plan: PartitionPlan
) -> Iterator[Candidate]:
    """All modules replaced at once, where ExecuTorch refuses a program that holds any of them."""
    if not isinstance(given, Exportable):
        return
    exchanges = list(_list_exchanges(given, plan))
    if len(exchanges) > 1:
        yield _describe_replacement(*exchanges)


def _list_replacements(given: Exportable, plan: PartitionPlan) -> Iterator[Candidate]:
    for exchange in _list_exchanges(given, plan):
        yield _describe_replacement(exchange)


def _list_exchanges(given: Exportable, plan: PartitionPlan) -> Iterator[Exchange]:
    declined = (node for node, v in plan.verdicts.items() if isinstance(v, Unsupported))
    paths = frozenset(path for node in declined for path, _ in list_modules(node))
    return list_exchanges(given.module, paths)


def _describe_replacement(*exchanges: Exchange) -> Candidate:
    title = " ".join(exchange.title for exchange in exchanges)
    change = "\n\n\n".join(exchange.code for exchange in exchanges)
    return Candidate("module", title, change, apply=partial(_exchange, exchanges))


@contextmanager
def _exchange(exchanges: Sequence[Exchange], given: Exportable) -> Iterator[Exportable]:
    with ExitStack() as stack:
        for exchange in exchanges:
            given = stack.enter_context(exchange.apply(given))
        yield given


def export_changed(given: Exportable, candidates: Sequence[Candidate]) -> ExportedProgram:
    """The model exported with the changes of candidates; left as it is.

    Raises:
        CaptureError: torch.export refuses it.
    """
    with ExitStack() as stack:
        for candidate in candidates:
            if candidate.apply is not None:
                given = stack.enter_context(candidate.apply(given))
        return export_methods({"forward": given})["forward"]
