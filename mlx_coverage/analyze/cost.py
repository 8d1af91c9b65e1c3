"""What a node costs by its metadata alone: floating-point operations, and bytes.

FLOPs are counted by `analyze.flops`. Bytes are those that eager torch would move at least: each
operand is read once and each result written once; a view moves nothing, and an op that reads rows
or elements by index reads as much as it writes, as in XLA's HloCostAnalysis.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from mlx_coverage.analyze.flops import INDEXED, Shape, count_flops, name_op
from mlx_coverage.analyze.model import Figures, SizeHint
from mlx_coverage.registry.call import Target, canonicalize

# A size from here on is no bound: torch.export puts sys.maxsize - 1 where it knows none.
_UNBOUNDED = 2**62
_given: ContextVar[Mapping[Any, int] | None] = ContextVar("_given", default=None)


@dataclass(frozen=True)
class Cost:
    """Cost of one node.

    Attributes:
        flops: None where it is not modelled.
        read, written: bytes.
        products: those of the FLOPs that are of matrix products, convolutions and attention.
    """

    flops: int | None
    read: int
    written: int
    products: int = 0

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
    if isinstance(target, OpOverload) and target.is_view:
        return Cost(0, 0, 0)
    if name_op(target) in INDEXED and operands:
        read = min(read, written + sum(map(_measure_tensor, operands[1:])))
    if not any(t.is_floating_point() or t.is_complex() for t in [*operands, *results]):
        return Cost(0, read, written)
    flops = count_flops(node, references, _describe)
    if flops is None:
        return Cost(None, read, written)
    return Cost(flops.total, read, written, flops.products)


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


@contextmanager
def sizes(values: Mapping[Any, int]) -> Iterator[None]:
    """Let symbols have other values than those of the example inputs for a while."""
    token = _given.set(values)
    try:
        yield
    finally:
        _given.reset(token)


def evaluate_size(size: int | torch.SymInt) -> int:
    """A size; a symbolic one as in the example inputs, one that depends on data as `SizeHint`s.

    Within `sizes`, its symbols have the values given there.
    """
    if isinstance(size, int):
        return size
    given, symbols = _given.get() or {}, size.node.expr.free_symbols
    if given.keys().isdisjoint(symbols) and size.node.has_hint():
        return int(size.node.hint)
    environment = size.node.shape_env
    values = {s: given[s] if s in given else _evaluate(s, environment).value for s in symbols}
    return int(size.node.expr.xreplace(values))


def find_upper_bounds(values: Iterable[Any]) -> dict[Any, int] | None:
    """The upper bound of each symbol in the shapes of tensors; None where one has none."""
    bounds: dict[Any, int] = {}
    shapes = (tensor.shape for value in values for tensor in _list_tensors(value))
    sizes_in_them: Iterator[Any] = (size for shape in shapes for size in shape)
    for size in (size for size in sizes_in_them if isinstance(size, torch.SymInt)):
        for symbol in size.node.expr.free_symbols:
            upper = size.node.shape_env.bound_sympy(symbol).upper
            if not upper.is_Integer or upper >= _UNBOUNDED:
                return None
            bounds[symbol] = int(upper)
    return bounds


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


def _describe(value: Any) -> Any:
    if isinstance(value, Node):
        value = value.meta["val"]
    if isinstance(value, torch.Tensor):
        return Shape(tuple(map(evaluate_size, value.shape)), value.dtype)
    if isinstance(value, torch.SymInt):
        return evaluate_size(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_describe, value))
    return value


def _list_tensors(value: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))


def _measure_tensor(tensor: torch.Tensor) -> int:
    return prod(map(evaluate_size, tensor.shape)) * tensor.dtype.itemsize
