"""Integer tensors of a graph whose elements follow each other: `arange(n) + start`.

`start` is an element that the host holds before a call: of an input or of a buffer.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from mlx_coverage.registry.dtypes import INDEX

aten = torch.ops.aten

VIEWS = frozenset(
    {
        aten.alias.default,
        aten.clone.default,
        aten.expand.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.view.default,
        aten._unsafe_view.default,
    }
)
# Of all there is along an axis, these are views, too.
_PARTS = frozenset({aten.select.int, aten.slice.Tensor})
CASTS = frozenset({aten._to_copy.default})


@dataclass(frozen=True)
class Run:
    """Positions that follow each other: `offset`, and the element `start` where there is one.

    Attributes:
        origin: what tells whether two elements are the same one.
    """

    start: Any = field(compare=False)
    origin: tuple[Any, ...]
    offset: int


def find_run(node: Any) -> Run | None:
    """The run that the elements of an integer tensor are, in order, whatever its shape."""
    node = skip_calls(node, VIEWS | _PARTS | CASTS)
    if not is_call(node) or not _is_integer(node):
        return None
    if node.target is aten.arange.default:
        return Run(None, (), 0)
    if node.target is aten.arange.start and isinstance(node.args[0], int):
        return Run(None, (), node.args[0])
    if node.target is not aten.add.Tensor or node.kwargs:
        return None
    for run, other in (node.args, node.args[::-1]):
        found = find_run(run)
        if found is not None and not _has_other_dims(run, other):
            return _shift(found, other)
    return None


def _shift(run: Run, by: Any) -> Run | None:
    if isinstance(by, int):
        return Run(run.start, run.origin, run.offset + by)
    element = find_element(by)
    if element is None or run.start is not None:
        return None
    return Run(*element, run.offset)


def find_element(node: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """An element that the host holds before a call: of an input or of a buffer."""
    if not isinstance(node, Node) or not _is_integer(node) or _count(node) != 1:
        return None
    # `copy` gives its second operand in the dtype of the first, which is an integer's here.
    while is_call(node) and (node.target is aten.copy.default or node.target in VIEWS | CASTS):
        node = node.args[1 if node.target is aten.copy.default else 0]
        if not isinstance(node, Node) or not _is_integer(node) or _count(node) != 1:
            return None
    if node.op == "placeholder":
        return node, (node,)
    taken: Any = node.args if is_call(node) and node.target is aten.select.int else ()
    if taken and isinstance(taken[2], int) and taken[0].op == "placeholder":
        return node, taken
    return None


def is_call(node: Any) -> bool:
    return isinstance(node, Node) and node.op == "call_function"


def _is_integer(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype in INDEX


def _count(node: Any) -> Any:
    return node.meta["val"].numel() if all(isinstance(n, int) for n in measure(node)) else None


def measure(node: Any) -> list[Any]:
    return [getattr(getattr(n, "node", None), "expr", n) for n in node.meta["val"].shape]


def _has_other_dims(run: Any, other: Any) -> bool:
    """Whether a sum has more dimensions than the run, or the run is not in order in it."""
    return isinstance(other, Node) and other.meta["val"].dim() > run.meta["val"].dim()


def skip_calls(node: Any, targets: frozenset[Any]) -> Any:
    """What a node is made of, through calls that leave as many elements in order."""
    while is_call(node) and node.target in targets:
        source = node.args[0]
        if not isinstance(source, Node) or not _keeps_elements(source, node):
            return node
        node = source
    return node


def _keeps_elements(source: Any, node: Any) -> bool:
    return [n for n in measure(source) if n != 1] == [n for n in measure(node) if n != 1]
