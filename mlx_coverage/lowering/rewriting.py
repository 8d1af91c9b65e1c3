"""Calls that the registry declines, written as calls that it takes.

A rewrite says what to write instead of a declined call; it is applied to a decomposed ATen
program, before ExecuTorch's edge dialect, and only where it helps: where the registry takes
what it makes, and torch's metadata of the results stays the same.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import Parameter
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from mlx_coverage.lowering.graphs import agree, inline_graph, trace_call
from mlx_coverage.lowering.plan import (
    Options,
    Rewrite,
    find_constants,
    is_counted,
    is_excluded,
)
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import bind, canonicalize, name_target, parameters
from mlx_coverage.registry.judge import Supported, Unsupported, judge_node
from mlx_coverage.registry.spec import Registry
from mlx_coverage.registry.standins import define_standin

_CAST = torch.ops.aten._to_copy.default

# What holds every value of the dtype to the left, or the most of its digits that MLX has.
CASTS: Mapping[torch.dtype, torch.dtype] = {
    torch.float64: torch.float32,
    torch.complex128: torch.complex64,
    torch.uint16: torch.int32,
    torch.uint32: torch.int64,
}


@dataclass(frozen=True)
class Decompose:
    """torch's own decompositions, also of ops that ExecuTorch keeps whole.

    Attributes:
        only: name of an op and slug of its primary reason, where not all are meant.
    """

    only: tuple[str, str] | None = None

    @property
    def leaves(self) -> Collection[OpOverload]:
        """None: its parts are what the registry is asked for."""
        return ()

    def write(self, node: Node, verdict: Unsupported) -> Callable[..., Any] | None:
        """The decomposition that torch has of the op."""
        op = canonicalize(node.target)
        if self.only is not None and self.only != (name_target(op), verdict.primary.slug):
            return None
        # What draws random numbers is declined for that, and made of nothing else.
        return decomposition_table.get(op) if isinstance(op, OpOverload) else None


@dataclass(frozen=True)
class Cast:
    """Computing in a dtype of MLX instead of `dtype`, with casts before and after the call."""

    dtype: torch.dtype

    @property
    def leaves(self) -> Collection[OpOverload]:
        """The casts, which are of a dtype that MLX does not take."""
        return (_CAST,)

    @property
    def instead(self) -> torch.dtype:
        """The dtype that MLX computes in."""
        return CASTS[self.dtype]

    def write(self, node: Node, verdict: Unsupported) -> Callable[..., Any] | None:
        """The call between casts, where dtypes are all that is wrong with it."""
        op = canonicalize(node.target)
        if op is _CAST or not isinstance(op, OpOverload):
            return None
        if any(reason.kind is not reasons.DTYPE for reason in verdict.reasons):
            return None
        operands = [n.meta.get("val") for n in node.all_input_nodes]
        if not any(isinstance(v, torch.Tensor) and v.dtype == self.dtype for v in operands):
            return None

        def compute(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = pytree.tree_map(self._enter, (args, kwargs))
            return pytree.tree_map(_cast_like, op(*args, **kwargs), node.meta["val"])

        return compute

    def _enter(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype == self.dtype:
            return _CAST(value, dtype=self.instead)
        return self.instead if value is self.dtype else value


@dataclass(frozen=True)
class Contiguous:
    """The call on row-major copies, where layouts are all that is wrong with it."""

    @property
    def leaves(self) -> Collection[OpOverload]:
        """None: MLX makes the copies as well."""
        return ()

    def write(self, node: Node, verdict: Unsupported) -> Callable[..., Any] | None:
        """The call of copies."""
        op = canonicalize(node.target)
        if not isinstance(op, OpOverload):
            return None
        if any(reason.kind is not reasons.LAYOUT for reason in verdict.reasons):
            return None

        def compute(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = pytree.tree_map(_lay_out, (args, kwargs))
            return op(*args, **kwargs)

        return compute


@dataclass(frozen=True)
class Overload:
    """Another overload of an op, which is given the same arguments in the same order.

    Attributes:
        op: the overload that is called.
        instead: the one to call.
    """

    op: OpOverload
    instead: OpOverload

    @property
    def leaves(self) -> Collection[OpOverload]:
        """None: the other overload has an entry."""
        return ()

    def write(self, node: Node, verdict: Unsupported) -> Callable[..., Any] | None:
        """The call of the other; what it does not know of, it refuses."""
        return self._call if canonicalize(node.target) is self.op else None

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        # Arguments at their default say nothing; those that the other asks for beyond are None.
        defaults = {name: default for name, _, default in parameters(self.op)}
        keywords = {name for name, keyword, _ in parameters(self.op) if keyword}
        given = list(bind(self.op, args, kwargs).items())
        while given and _is_default(given[-1][1], defaults[given[-1][0]]):
            given.pop()
        positional = [value for name, value in given if name not in keywords]
        wanted = [default for _, keyword, default in parameters(self.instead) if not keyword]
        further = [None for default in wanted[len(positional) :] if default is Parameter.empty]
        named = {name: value for name, value in given if name in keywords}
        # A composite would be traced through; its stand-in is kept.
        return define_standin(self.instead)(*positional, *further, **named)


def _is_default(value: Any, default: Any) -> bool:
    return not isinstance(value, torch.Tensor) and bool(value == default)


def list_overloads(op: Any, registry: Registry) -> tuple[OpOverload, ...]:
    """The other overloads of an op that have an entry."""
    if not isinstance(op, OpOverload):
        return ()
    packet = op.overloadpacket
    others = (getattr(packet, name) for name in packet.overloads())
    return tuple(o for o in others if o is not op and registry.get(o) is not None)


def _lay_out(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or (
        value.is_contiguous() and not value.storage_offset()
    ):
        return value
    return value.clone(memory_format=torch.contiguous_format)


def _cast_like(found: Any, expected: Any) -> Any:
    if isinstance(found, torch.Tensor) and found.dtype != expected.dtype:
        return _CAST(found, dtype=expected.dtype)
    return found


def rewrite_declined(
    program: ExportedProgram,
    registry: Registry,
    options: Options,
    table: Mapping[Any, Callable[..., Any]],
) -> int:
    """Apply the rewrites of `options`, in place; returns to how many calls.

    Args:
        program: decomposed, and the caller's own: its graph is changed.
        registry: by which calls are declined and taken.
        options: an excluded call is not rewritten.
        table: ExecuTorch's decompositions, for what the rewrites make.
    """
    graph = program.graph_module.graph
    constants = find_constants(program)
    count = 0
    for node in list(graph.nodes):
        if not is_counted(node) or is_excluded(node, options):
            continue
        verdict = judge_node(node, registry, constants)
        if isinstance(verdict, Supported):
            continue
        for rewrite in options.rewrites:
            body = _write(node, verdict, rewrite, table)
            if body is not None and _is_taken(node, body, rewrite, registry, constants):
                inline_graph(node, body)
                count += 1
                break
    if count:
        if any(isinstance(rewrite, Cast) for rewrite in options.rewrites):
            _join_casts(graph)
        graph.eliminate_dead_code()
        graph.lint()
    return count


def _write(
    node: Node,
    verdict: Unsupported,
    rewrite: Rewrite,
    table: Mapping[Any, Callable[..., Any]],
) -> Graph | None:
    function = rewrite.write(node, verdict)
    if function is None:
        return None
    try:
        return trace_call(node, function, {**_list_prims(), **table})
    except (ArithmeticError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None  # a decomposition that does not know these arguments


@cache
def _list_prims() -> Mapping[Any, Callable[..., Any]]:
    """The ATen form of each of the prims that many of torch's decompositions are written in."""
    prims = [op for op in vars(torch._prims).values() if isinstance(op, OpOverload)]
    return {op: vars(op)["impl_aten"] for op in prims}


def _is_taken(
    node: Node, body: Graph, rewrite: Rewrite, registry: Registry, constants: Collection[Node]
) -> bool:
    outer = zip(body.find_nodes(op="placeholder"), node.all_input_nodes, strict=True)
    fixed = [inner for inner, source in outer if source in constants]
    results = torch.fx.node.map_arg(body.output_node().args[0], lambda n: n.meta.get("val"))
    if not agree(results, node.meta.get("val")):
        return False
    return not body.find_nodes(op="get_attr") and all(
        inner.target in rewrite.leaves or isinstance(judge_node(inner, registry, fixed), Supported)
        for inner in body.nodes
        if is_counted(inner)
    )


def _join_casts(graph: Graph) -> None:
    """Drop casts to a wider dtype and back: the value was in the narrower one before."""
    for node in graph.nodes:
        source = node.args[0] if _is_cast(node) else None
        if not isinstance(source, Node) or not _is_cast(source):
            continue
        narrow = source.args[0].meta["val"].dtype  # type: ignore[union-attr]
        wide = source.meta["val"].dtype
        if node.meta["val"].dtype == narrow and CASTS.get(wide) == narrow:
            node.replace_all_uses_with(source.args[0])


def _is_cast(node: Node) -> bool:
    return node.target is _CAST and set(node.kwargs) == {"dtype"}
