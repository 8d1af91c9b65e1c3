"""Parts taken at places that the program computes, as look-ups at the tensors that hold them.

torch exports `x[i]`, with `i` a tensor of no dimensions, as reading `i` into the program and
a `select` there. ExecuTorch cannot convert that: the copying form of `select` branches on the
place. Written as `index` it needs no number, and the place never leaves the accelerator.
"""

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from mlx_coverage.lowering.graphs import inline_graph, trace_call

aten = torch.ops.aten


def look_up_parts(program: ExportedProgram) -> bool:
    """Write each `select` at a computed place as a look-up; whether there is any."""
    calls = program.graph.find_nodes(op="call_function", target=aten.select.int)
    found = [node for node in calls if _is_computed(node.args[2])]
    for node in found:
        node.args = (*node.args[:2], _hold(node.args[2], node))
        inline_graph(node, trace_call(node, _look_up))
    return bool(found)


def _is_computed(place: Any) -> bool:
    value = place.meta["val"] if isinstance(place, Node) else place
    return isinstance(value, torch.SymInt) and bool(free_unbacked_symbols(value))


def _hold(place: Node, reader: Node) -> Node:
    """The tensor that a place was read from; a new one where it was computed as a number."""
    if place.target is aten._local_scalar_dense.default:
        held: Any = place.args[0]
        if held.meta["val"].dim() == 0:
            return held  # type: ignore[no-any-return]
    with reader.graph.inserting_before(reader), reader.meta["val"].fake_mode:
        held = reader.graph.call_function(
            aten.scalar_tensor.default, (place,), {"dtype": torch.int64}
        )
        held.meta = {**reader.meta, "val": torch.empty((), dtype=torch.int64)}
    return held  # type: ignore[no-any-return]


def _look_up(x: torch.Tensor, dim: int, place: torch.Tensor) -> torch.Tensor:
    return aten.index.Tensor(x, [*[None] * (dim % x.dim()), place.to(torch.int64)])  # type: ignore[no-any-return]
