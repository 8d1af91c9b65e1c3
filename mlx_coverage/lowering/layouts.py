"""Where the elements of tensors lie in memory, as ExecuTorch can say it.

It has names for two layouts, row by row and channels_last in four dimensions, and no storage
that several tensors share: at its edge every view is a copy. Strides that count in a storage
are made to count in a tensor, and constants of other layouts are copied row by row.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch._prims_common import compute_elementwise_output_logical_to_physical_perm
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from mlx_coverage.lowering.graphs import find_base

aten = torch.ops.aten


def lay_out(program: ExportedProgram) -> ExportedProgram:
    """The program with no layout but those that ExecuTorch names; values are the same.

    Args:
        program: functionalised; its graph, state dict and constants are changed.
    """
    _make_empties(program)
    stored = {node: name for node, name in _list_stored(program)}
    _lay_out_operands(program, stored)
    odd = [node for node in stored if not _is_named(node.meta["val"])]
    for node in odd:
        _replace(program, node, stored[node], lambda tensor: tensor.contiguous())
    copies = [n for n in program.graph.nodes if _copies_to_unnamed(n)]
    for node in copies:
        node.kwargs = {**node.kwargs, "memory_format": torch.contiguous_format}
    # torch computes the strides of what is made of them.
    return program.run_decompositions({}) if odd or copies else program


def _list_stored(program: ExportedProgram) -> Iterator[tuple[Node, str]]:
    """The placeholders of parameters, buffers and constants, and the names of their tensors."""
    nodes = program.graph.find_nodes(op="placeholder")
    for node, spec in zip(nodes, program.graph_signature.input_specs, strict=True):
        given = spec.kind in (InputKind.USER_INPUT, InputKind.CUSTOM_OBJ, InputKind.TOKEN)
        if not given and spec.target is not None and isinstance(node.meta["val"], torch.Tensor):
            yield node, spec.target


def _make_empties(program: ExportedProgram) -> None:
    """Compute constants without elements: ExecuTorch stores none, and does not load a program."""
    graph = program.graph_module.graph
    mutated = program.graph_signature.buffers_to_mutate.values()
    first = next(node for node in graph.nodes if node.op != "placeholder")
    for node, name in list(_list_stored(program)):
        value = node.meta["val"]
        if 0 not in value.shape or name in mutated:
            continue
        with graph.inserting_before(first):
            made = graph.call_function(
                aten.full.default, (list(value.shape), 0), {"dtype": value.dtype}
            )
        made.meta = {**node.meta, "val": value.new_empty(value.shape)}
        node.replace_all_uses_with(made)
        graph.erase_node(node)
        signature = program.graph_signature
        specs = [spec for spec in signature.input_specs if spec.arg.name != node.name]
        program._graph_signature = replace(signature, input_specs=specs)
        if all(spec.target != name for spec in specs):
            (program.state_dict if name in program.state_dict else program.constants).pop(name)


def _is_named(value: torch.Tensor) -> bool:
    return value.is_contiguous() or value.is_contiguous(memory_format=torch.channels_last)


def _copies_to_unnamed(node: Node) -> bool:
    return node.kwargs.get("memory_format") is torch.channels_last_3d


def _replace(program: ExportedProgram, node: Node, name: str, change: Any) -> None:
    """Change the tensor of a placeholder, and what the graph says of it."""
    held = program.state_dict if name in program.state_dict else program.constants
    tensor = held[name]
    changed = change(tensor.detach())
    if isinstance(tensor, torch.nn.Parameter):
        changed = torch.nn.Parameter(changed, requires_grad=tensor.requires_grad)
    held[name] = changed
    node.meta["val"] = change(node.meta["val"].detach())


def _lay_out_operands(program: ExportedProgram, stored: dict[Node, str]) -> None:
    """Give each `as_strided` an operand whose elements lie in storage order.

    Strides count in the storage. So the operand becomes what the view is of, whose elements
    are the whole storage.
    """
    graph = program.graph_module.graph
    mutated = program.graph_signature.buffers_to_mutate.values()
    for node in graph.find_nodes(op="call_function", target=aten.as_strided.default):
        source, size, stride, *rest = node.args
        value = source.meta["val"]
        start = rest[0] if rest and rest[0] is not None else value.storage_offset()
        source = find_base(source, same_dtype=True)
        if source in stored and stored[source] not in mutated:
            source = _lay_out_storage(program, source, stored[source])
        value = source.meta["val"]
        node.args = (source, size, stride, start - value.storage_offset())
        if value.is_contiguous() and not value.storage_offset():
            continue
        order = compute_elementwise_output_logical_to_physical_perm(value)[0]
        if not value.permute(order).is_contiguous():
            continue  # an input with gaps: no edge op reaches what lies in them
        with graph.inserting_before(node):
            permuted = graph.call_function(aten.permute.default, (source, order))
            permuted.meta = {**node.meta, "val": value.permute(order)}
            laid_out = graph.call_function(
                aten.clone.default, (permuted,), {"memory_format": torch.contiguous_format}
            )
            laid_out.meta = {
                **node.meta,
                "val": permuted.meta["val"].clone(memory_format=torch.contiguous_format),
            }
        node.args = (laid_out, size, stride, start - value.storage_offset())


def _lay_out_storage(program: ExportedProgram, node: Node, name: str) -> Node:
    """Make a constant its whole storage, of one dimension, and a view of it of what it was."""
    value, graph = node.meta["val"], node.graph
    size = value.untyped_storage().nbytes() // value.element_size()
    if value.dim() == 1 and value.shape[0] == size:
        return node
    call = (list(value.shape), list(value.stride()), value.storage_offset())
    _replace(program, node, name, lambda tensor: tensor.as_strided((size,), (1,), 0))
    first = next(n for n in graph.nodes if n.op != "placeholder")
    with graph.inserting_before(first):
        view = graph.call_function(aten.as_strided.default, (node, *call))
    view.meta = {**next(iter(node.users)).meta, "val": value}
    node.replace_all_uses_with(view, delete_user_cb=lambda user: user is not view)
    return node
