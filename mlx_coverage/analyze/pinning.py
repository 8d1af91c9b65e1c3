"""Dynamic dimensions of a model made static, at the sizes of its example inputs."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_symbols
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.load import Exportable


@dataclass(frozen=True)
class Pin:
    """A dimension of an input.

    Attributes:
        name: of the input.
        dim: number of the dimension.
        size: in the example inputs.
    """

    name: str
    dim: int
    size: int


def list_input_symbols(program: ExportedProgram) -> dict[str, tuple[Pin, ...]]:
    """The symbols of the program that are sizes of its inputs, and of which dimensions."""
    found: dict[str, list[Pin]] = {}
    for node, example in zip(list_inputs(program), _list_examples(program), strict=True):
        value = node.meta["val"]
        for dim, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
            for symbol in free_symbols(size):
                found.setdefault(str(symbol), []).append(Pin(node.name, dim, example.shape[dim]))
    return {symbol: tuple(pins) for symbol, pins in found.items()}


def list_symbols_read(node: Node) -> frozenset[str]:
    """The symbols in the sizes and numbers that a call reads."""
    return frozenset(
        str(symbol)
        for source in node.all_input_nodes
        for value in pytree.tree_leaves(source.meta.get("val"))
        if isinstance(value, (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool))
        for symbol in free_symbols(value)
    )


def pin_sizes(given: Exportable, program: ExportedProgram, pins: Sequence[Pin]) -> Exportable:
    """The model with these dimensions static; unchanged where its shapes say it otherwise.

    Args:
        given: exported as `program`.
        program: whose inputs the pins are of.
        pins: all dimensions of a size.
    """
    dims = [
        frozenset(pin.dim for pin in pins if pin.name == node.name) for node in list_inputs(program)
    ]
    args, kwargs = pytree.tree_unflatten(dims, program.call_spec.in_spec)
    bound = inspect.signature(given.module.forward).bind(*args, **kwargs).arguments
    shapes = given.dynamic_shapes
    static = _release(shapes, bound if isinstance(shapes, Mapping) else tuple(bound.values()))
    return replace(given, dynamic_shapes=static)


def _release(shapes: Any, dims: Any) -> Any:
    if isinstance(dims, frozenset):
        if isinstance(shapes, Mapping):
            return {dim: Dim.STATIC if dim in dims else size for dim, size in shapes.items()}
        if isinstance(shapes, (list, tuple)):
            return tuple(Dim.STATIC if dim in dims else size for dim, size in enumerate(shapes))
    elif isinstance(shapes, Mapping) and isinstance(dims, Mapping):
        return {name: _release(shape, dims.get(name)) for name, shape in shapes.items()}
    elif isinstance(shapes, (list, tuple)) and isinstance(dims, (list, tuple)):
        return type(shapes)(_release(*pair) for pair in zip(shapes, dims, strict=True))
    return shapes


def list_inputs(program: ExportedProgram) -> Iterator[Node]:
    """The placeholders of what the caller passes, in order."""
    specs = program.graph_signature.input_specs
    names = {spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT}
    yield from (n for n in program.graph.find_nodes(op="placeholder") if n.name in names)


def _list_examples(program: ExportedProgram) -> list[Any]:
    return list(pytree.tree_leaves(program.example_inputs))
