"""Plans of small modules, made without ExecuTorch's passes: cheap, and the planner's own."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload

from mlx_coverage.lowering.plan import Options, PartitionPlan, normalize_ops, plan
from mlx_coverage.registry import default_registry


def make_plan(
    module: nn.Module,
    *args: Any,
    exclude: Iterable[OpOverload] = (),
    whole: Iterable[OpOverload] = (),
    dynamic_shapes: Any = None,
) -> PartitionPlan:
    """The plan of a module.

    Args:
        module: to export.
        args: its example inputs.
        exclude: ops to keep off the delegate; those and `whole` are not decomposed.
        whole: further ops to leave as they are.
        dynamic_shapes: as for `torch.export.export`.
    """
    program = torch.export.export(module.eval(), args, dynamic_shapes=dynamic_shapes)
    table = torch.export.default_decompositions()
    excluded = tuple(exclude)
    for op in (*excluded, *whole):
        table.pop(op, None)
    options = Options(exclude_ops=normalize_ops(excluded))
    return plan(program.run_decompositions(table), default_registry(), options)
