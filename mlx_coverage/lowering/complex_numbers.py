"""Calls on complex numbers, carried past ExecuTorch's check of dtypes.

ExecuTorch's tensors may be complex, but its edge dialect lists complex dtypes for few ops, and
its verifier refuses others before a delegate is asked; what it lets pass has mostly no kernel for
them. Such a call travels as the stand-in of its op, in our namespace, which the verifier lets
pass; the registry judges it as the op.
"""

from typing import Any

import torch
from torch._export.passes.replace_view_ops_with_view_copy_ops_pass import get_view_copy_of_view_op
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from mlx_coverage.registry.standins import define_standin

aten = torch.ops.aten

# What ExecuTorch's verifier lets pass with complex numbers, and its kernels take.
PORTABLE = frozenset(
    {
        *(aten.clone.default, aten.expand.default, aten.permute.default, aten.slice.Tensor),
        *(aten.squeeze.dims, aten.unsqueeze.default, aten.view_as_real.default),
        *(aten._fft_r2c.default, aten._fft_c2r.default),
    }
)

_PLACES = frozenset({"device", "pin_memory", "layout"})


def carry_complex_calls(program: ExportedProgram) -> None:
    """Put stand-ins in the place of calls on complex numbers that ExecuTorch cannot run.

    Args:
        program: functional and decomposed, in ATen; changed in place.
    """
    for node in list(program.graph.nodes):
        op = node.target
        if node.op != "call_function" or not isinstance(op, OpOverload):
            continue
        if op in PORTABLE or not _can_stand_in(node, op) or not _is_complex(node):
            continue
        _lift_numbers(node, op)
        # Fake tensors follow a device in torch's own ops only; here there is but one.
        node.kwargs = {name: v for name, v in node.kwargs.items() if name not in _PLACES}
        node.target = define_standin(_find_copying(op))


def _can_stand_in(node: Node, op: OpOverload) -> bool:
    """Whether fake tensors compute the call also under another name of its op."""
    keys = (torch._C.DispatchKey.Meta, torch._C.DispatchKey.CompositeExplicitAutograd)
    return (
        op.namespace == "aten"
        and not (
            torch.Tag.dynamic_output_shape in op.tags
            and free_unbacked_symbols(node.meta.get("val"))
        )
        and any(map(op.has_kernel_for_dispatch_key, keys))
    )


def _find_copying(op: OpOverload) -> OpOverload:
    # The program is functional: a view of ours would be an alias that torch cannot follow.
    return (get_view_copy_of_view_op(op._schema) if op.is_view else None) or op


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
    """Give a tensor where the call has a number for one, which torch takes in its own ops only."""
    for position, argument in enumerate(op._schema.arguments[: len(node.args)]):
        value = node.args[position]
        if str(argument.type) != "Tensor" or not isinstance(value, (int, float, complex)):
            continue
        is_complex = isinstance(value, complex)
        dtype = torch.complex64 if is_complex else torch.tensor(value).dtype
        full = define_standin(aten.full.default) if is_complex else aten.full.default
        with node.graph.inserting_before(node):
            lifted = node.graph.call_function(full, ([], value), {"dtype": dtype})
        lifted.meta = {**node.meta, "val": node.meta["val"].new_full((), value, dtype=dtype)}
        node.update_arg(position, lifted)
