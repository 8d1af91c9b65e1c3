"""Calls on complex numbers, carried past ExecuTorch's check of dtypes.

ExecuTorch's tensors may be complex, but its edge dialect lists complex dtypes for few ops and
its verifier refuses all others before a delegate is asked. Such a call travels as the stand-in
of its op, in our namespace, which the verifier lets pass; the registry judges it as the op.
"""

from typing import Any

import torch
from torch._export.passes.replace_view_ops_with_view_copy_ops_pass import get_view_copy_of_view_op
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.edge import takes_dtypes
from mlx_coverage.registry.standins import define_standin


def carry_complex_calls(program: ExportedProgram) -> None:
    """Put stand-ins in the place of what ExecuTorch would refuse for a complex dtype.

    Args:
        program: functional and decomposed, in ATen; changed in place.
    """
    for node in list(program.graph.nodes):
        op = node.target
        if node.op != "call_function" or not isinstance(op, OpOverload) or op.namespace != "aten":
            continue
        if not _is_complex(node):
            continue
        copying = (get_view_copy_of_view_op(op._schema) if op.is_view else None) or op
        if not takes_dtypes(node, copying):
            _lift_numbers(node, op)
            node.target = define_standin(copying)


def _is_complex(node: Node) -> bool:
    """Whether a tensor or number of the call is complex."""
    values: list[Any] = [node.meta.get("val"), node.args, list(node.kwargs.values())]
    while values:
        value = values.pop()
        if isinstance(value, Node):
            value = value.meta.get("val")
        if isinstance(value, (list, tuple)):
            values.extend(value)
        elif isinstance(value, complex) or (isinstance(value, torch.Tensor) and value.is_complex()):
            return True
    return False


def _lift_numbers(node: Node, op: OpOverload) -> None:
    """Give a tensor where the call has a number for one, which torch takes for its own ops only."""
    for position, argument in enumerate(op._schema.arguments[: len(node.args)]):
        value = node.args[position]
        if str(argument.type) != "Tensor" or not isinstance(value, (int, float, complex)):
            continue
        dtype = torch.complex64 if isinstance(value, complex) else torch.tensor(value).dtype
        full = torch.ops.aten.full.default
        with node.graph.inserting_before(node):
            lifted = node.graph.call_function(
                define_standin(full) if dtype.is_complex else full, ([], value), {"dtype": dtype}
            )
        lifted.meta = {**node.meta, "val": node.meta["val"].new_full((), value, dtype=dtype)}
        node.update_arg(position, lifted)
