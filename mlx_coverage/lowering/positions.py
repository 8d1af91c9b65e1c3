"""Positions of non-zero elements, as ExecuTorch's kernel gives them right.

`aten.nonzero` of two dimensions or more gives rows that lie column by column in memory, in
torch and in what export says of it. ExecuTorch's kernel writes them row by row into a tensor
that it declares as torch's, so that every reader finds other numbers. In one dimension the
two are the same: the kernel is asked for positions in the flattened tensor, and coordinates
are computed from those.
"""

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.graphs import inline_graph, trace_call

aten = torch.ops.aten
# Where the symbol for the number of rows comes from: of one node.
_BINDINGS = "unbacked_bindings"


def flatten_positions(program: ExportedProgram) -> bool:
    """Write each `nonzero` of several dimensions as one of a flattened tensor.

    Returns whether there is any, of whatever dimensions.

    What is written is to be decomposed.
    """
    calls = program.graph.find_nodes(op="call_function", target=aten.nonzero.default)
    for node in calls:
        if node.args[0].meta["val"].dim() > 1:
            _flatten(node)
        elif any(isinstance(user.meta.get("val"), torch.Tensor) for user in node.users):
            _lay_out(node)
    return bool(calls)


def _lay_out(node: Node) -> None:
    """Copy a column row by row: ExecuTorch's kernels take no view of it as it is declared."""
    with node.graph.inserting_after(node):
        copied = node.graph.call_function(
            aten.clone.default, (node,), {"memory_format": torch.contiguous_format}
        )
    value = node.meta["val"].contiguous()
    copied.meta = {**node.meta, "val": value}
    copied.meta.pop(_BINDINGS, None)
    node.replace_all_uses_with(copied, delete_user_cb=lambda user: user is not copied)


def _flatten(node: Node) -> None:
    graph, source = node.graph, node.args[0]
    assert isinstance(source, Node)
    value, positions = source.meta["val"], node.meta["val"]
    bindings = node.meta.pop(_BINDINGS, {})
    # The same symbol for the number of rows, which readers and their guards know.
    flat = positions.new_empty_strided((positions.shape[0], 1), positions.stride())
    with graph.inserting_before(node):
        row = graph.call_function(aten.reshape.default, (source, [-1]))
        row.meta = {**node.meta, "val": value.reshape(-1)}
        sizes = [_take_size(source, dim) for dim in range(value.dim())]
        found = graph.call_function(aten.nonzero.default, (row,))
        found.meta = {**node.meta, "val": flat, _BINDINGS: bindings}
    node.args = (found, *sizes)
    inline_graph(node, trace_call(node, _unravel))


def _take_size(source: Node, dim: int) -> Node | int:
    size = source.meta["val"].shape[dim]
    if isinstance(size, int):
        return size
    node = source.graph.call_function(aten.sym_size.int, (source, dim))
    node.meta = {**source.meta, "val": size}
    return node


def _unravel(flat: torch.Tensor, *sizes: int) -> torch.Tensor:
    """Coordinates, a row for each position in the flattened tensor."""
    rest, columns = flat.select(1, 0), []
    for size in reversed(sizes[1:]):
        whole = rest.floor_divide(size)
        columns.append(rest - whole * size)
        rest = whole
    return torch.stack([rest, *reversed(columns)], 1)
