"""Operands cast to the dtype that torch promotes them to, where ExecuTorch wants one dtype."""

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from mlx_coverage.registry.call import bind

aten = torch.ops.aten
# Ops that ExecuTorch's check of dtypes refuses although torch and its kernels take them, and
# the operands that have the dtype of the result once they are promoted.
_PROMOTED = {
    aten.cat.default: ("tensors",),
    aten.where.self: ("self", "other"),
    aten.pow.Tensor_Tensor: ("self", "exponent"),
    aten.fmod.Tensor: ("self", "other"),
    aten.remainder.Tensor: ("self", "other"),
    aten.index_put.default: ("values",),
}


def promote_operands(program: ExportedProgram) -> None:
    """Insert the casts, in place."""
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for op, names in _PROMOTED.items():
                for node in module.graph.find_nodes(op="call_function", target=op):
                    _promote(node, names)


def _promote(node: Node, names: tuple[str, ...]) -> None:
    operands = bind(node.target, node.args, node.kwargs)  # type: ignore[arg-type]
    dtype = node.meta["val"].dtype

    def cast(operand: Node) -> Node:
        if operand.meta["val"].dtype == dtype:
            return operand
        with node.graph.inserting_before(node):
            made = node.graph.call_function(aten._to_copy.default, (operand,), {"dtype": dtype})
        made.meta = {**node.meta, "val": operand.meta["val"].to(dtype)}
        return made

    promoted = {name: map_arg(operands[name], cast) for name in names}
    # None of the ops has arguments by keyword alone.
    node.args, node.kwargs = tuple({**operands, **promoted}.values()), {}
