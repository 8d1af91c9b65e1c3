"""What a node costs by its metadata alone: FLOPs as torch counts them, and bytes.

FLOPs are those of `torch.utils.flop_counter`, whose formulas are called with the sizes of
the node's operands, so that the sum over a program equals what `FlopCounterMode` prints for
the model: matrix products, convolutions and attention, a multiply-add being two. A composite
op (`linear`, `scaled_dot_product_attention`) and an op that stands for a pattern are taken
apart as torch takes them apart, on meta tensors under `FlopCounterMode`. Ops without
floating-point operands or results, and ops that only move or make data, have no FLOPs. For
everything else torch has no formula, and neither do we: it is not modelled.

Bytes are those that eager torch would move at least: each operand is read once and each
result written once; a view moves nothing, and an op that reads rows or elements by index
reads as much as it writes, as in XLA's HloCostAnalysis.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from mlx_coverage.analyze.model import Figures, SizeHint
from mlx_coverage.registry.call import Target, bind, canonicalize, parameters

# A size from here on is no bound: torch.export puts sys.maxsize - 1 where it knows none.
_UNBOUNDED = 2**62
_INDEXED = frozenset("embedding index index_select gather".split())
# ATen ops that move or make data and do no arithmetic on it, beside views.
_MOVES = _INDEXED | frozenset(
    "cat stack split split_with_sizes chunk unbind clone copy _to_copy contiguous lift_fresh_copy "
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d pad repeat repeat_interleave flip roll tril triu where "
    "masked_fill masked_scatter masked_select index_put index_copy index_fill select_scatter "
    "slice_scatter diagonal_scatter scatter pixel_shuffle pixel_unshuffle channel_shuffle "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d unfold_copy dropout "
    "empty empty_like empty_permuted empty_strided full full_like zeros zeros_like ones ones_like "
    "scalar_tensor eye arange fill new_empty new_full new_zeros new_ones".split()
)


@dataclass(frozen=True)
class Cost:
    """Cost of one node.

    Attributes:
        flops: None where it is not modelled.
        read, written: bytes.
    """

    flops: int | None
    read: int
    written: int

    @property
    def figures(self) -> Figures:
        """The cost as figures that add up."""
        if self.flops is None:
            return Figures(1, 0, self.read + self.written, 1, self.written)
        return Figures(1, self.flops, self.read + self.written)


def measure_node(node: Node, references: Mapping[Target, Callable[..., Any]]) -> Cost:
    """Cost of a `call_function` node.

    Args:
        node: with `val` metadata; symbolic sizes count as `evaluate_size` says.
        references: what ops that stand for a pattern mean, as torch functions.
    """
    target = canonicalize(node.target)
    results = list(_list_tensors(node.meta.get("val")))
    written = sum(map(_measure_tensor, results))
    operands = [t for n in node.all_input_nodes for t in _list_tensors(n.meta.get("val"))]
    read = sum(map(_measure_tensor, operands))
    name = _get_name(target)
    if isinstance(target, OpOverload) and target.is_view:
        return Cost(0, 0, 0)
    if name in _INDEXED and operands:
        read = min(read, written + sum(map(_measure_tensor, operands[1:])))
    moves = name in _MOVES and not _accumulates(node)
    if moves or not any(t.is_floating_point() or t.is_complex() for t in [*operands, *results]):
        return Cost(0, read, written)
    return Cost(_count_flops(node, target, references.get(target)), read, written)


def measure_value(value: Any) -> int:
    """Bytes of the tensors of a `val`."""
    return sum(map(_measure_tensor, _list_tensors(value)))


def describe_value(value: Any) -> str:
    """Dtype and shape of a `val`, symbolic sizes by name: `float32 [1, s77]`."""
    texts = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            sizes = ", ".join(map(str, leaf.shape))
            texts.append(f"{str(leaf.dtype).removeprefix('torch.')} [{sizes}]")
        elif leaf is not None:
            texts.append(type(leaf).__name__)
    return ", ".join(texts)


def evaluate_size(size: int | torch.SymInt) -> int:
    """A size; a symbolic one as in the example inputs, one that depends on data as `SizeHint`s."""
    if isinstance(size, int):
        return size
    if size.node.has_hint():
        return int(size.node.hint)
    environment = size.node.shape_env
    values = {
        symbol: _evaluate(symbol, environment).value for symbol in size.node.expr.free_symbols
    }
    return int(size.node.expr.xreplace(values))


def _evaluate(symbol: Any, environment: Any) -> SizeHint:
    known = environment.backed_var_to_val.get(symbol)
    if known is not None:
        return SizeHint(str(symbol), int(known))
    bounds = environment.bound_sympy(symbol)
    # What export gives a size that it knows nothing of, such as a tensor's own number.
    if bounds.upper.is_Integer and bounds.upper < _UNBOUNDED:
        return SizeHint(str(symbol), int(bounds.upper), "upper bound")
    return SizeHint(str(symbol), max(int(bounds.lower), 1), "lower bound")


def list_symbols(values: Iterable[Any]) -> tuple[SizeHint, ...]:
    """The symbolic sizes in the shapes of tensors, and what they are evaluated to."""
    found: dict[str, SizeHint] = {}
    for value in values:
        for tensor in _list_tensors(value):
            for size in tensor.shape:
                if isinstance(size, torch.SymInt):
                    _add_symbols(size, found)
    return tuple(found[name] for name in sorted(found))


def _add_symbols(size: torch.SymInt, found: dict[str, SizeHint]) -> None:
    for symbol in size.node.expr.free_symbols:
        if str(symbol) not in found:
            found[str(symbol)] = _evaluate(symbol, size.node.shape_env)


def _count_flops(node: Node, target: Target, reference: Callable[..., Any] | None) -> int | None:
    if not isinstance(target, OpOverload):
        return None
    formula = target.overloadpacket in flop_registry
    composite = target.has_kernel_for_dispatch_key(torch.DispatchKey.CompositeImplicitAutograd)
    if not formula and reference is None and not composite:
        return None
    arguments = bind(target, node.args, node.kwargs)
    described = tuple((name, _describe(value)) for name, value in arguments.items())
    if formula:
        return _apply(target, described, _describe(node))
    return _trace(reference or target, described)


@dataclass(frozen=True)
class _Shape:
    """A tensor, as far as a formula reads it."""

    sizes: tuple[int, ...]
    dtype: torch.dtype


def _describe(value: Any) -> Any:
    # Hashable, so that identical layers are counted once.
    if isinstance(value, Node):
        value = value.meta["val"]
    if isinstance(value, torch.Tensor):
        return _Shape(tuple(map(evaluate_size, value.shape)), value.dtype)
    if isinstance(value, torch.SymInt):
        return evaluate_size(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_describe, value))
    return value


@cache
def _apply(target: OpOverload, arguments: tuple[tuple[str, Any], ...], result: Any) -> int:
    shapes = tree_map(_get_sizes, dict(arguments))
    keywords = {name: shapes.pop(name) for name, only, _ in parameters(target) if only}
    formula = flop_registry[target.overloadpacket]
    return int(formula(*shapes.values(), **keywords, out_val=tree_map(_get_sizes, result)))


@cache
def _trace(function: Callable[..., Any], arguments: tuple[tuple[str, Any], ...]) -> int | None:
    operands = tree_map(_make_meta, dict(arguments))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(**operands)
    # Zero means that torch has no formula for any of its parts.
    return counter.get_total_flops() or None


def _get_sizes(value: Any) -> Any:
    return torch.Size(value.sizes) if isinstance(value, _Shape) else value


def _make_meta(value: Any) -> Any:
    if isinstance(value, _Shape):
        return torch.empty(value.sizes, dtype=value.dtype, device="meta")
    return value


def _accumulates(node: Node) -> bool:
    target = canonicalize(node.target)
    arguments = bind(target, node.args, node.kwargs)
    return bool(arguments.get("accumulate")) or "reduce" in arguments


def _get_name(target: Target) -> str:
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return ""
    return target._schema.name.partition("::")[2]


def _list_tensors(value: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))


def _measure_tensor(tensor: torch.Tensor) -> int:
    return prod(map(evaluate_size, tensor.shape)) * tensor.dtype.itemsize
