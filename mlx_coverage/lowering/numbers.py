"""Products and quotients of halves by one number, which torch does not round to a half first.

ExecuTorch makes a tensor of each number and casts it to the other operand's dtype, where 1e5
is infinite.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.graphs import inline_graph, trace_call

aten = torch.ops.aten

_OF_NUMBERS: Mapping[OpOverload, OpOverload] = {
    aten.mul.Tensor: aten.mul.Scalar,
    aten.div.Tensor: aten.div.Scalar,
    aten.div.Tensor_mode: aten.div.Scalar_mode,
}


def keep_numbers(program: ExportedProgram) -> bool:
    """Call the overloads that take a number, and compute in float32 beside a 0-d tensor.

    Returns:
        Whether calls were put in the place of others.
    """
    inlined = False
    for node in list(program.graph.nodes):
        if node.target not in _OF_NUMBERS or not _is_half(node.meta.get("val")):
            continue
        given, other = node.args  # as the schema has them: export names no positional argument
        if not isinstance(given, Node) or not _is_half(given.meta["val"]):
            continue
        if isinstance(other, (int, float)):
            node.target = _OF_NUMBERS[node.target]
        elif isinstance(other, Node) and _is_wide_number(other.meta["val"]):
            inline_graph(node, trace_call(node, _in_float32(node.target)))
            inlined = True
    return inlined


def _in_float32(op: OpOverload) -> Any:
    def compute(self: torch.Tensor, other: torch.Tensor, **mode: Any) -> torch.Tensor:
        wide = op(aten._to_copy.default(self, dtype=torch.float32), other, **mode)
        return aten._to_copy.default(wide, dtype=self.dtype)  # type: ignore[no-any-return]

    return compute


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)


def _is_wide_number(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() == 0 and not _is_half(value)
