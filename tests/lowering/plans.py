"""A plan as plain data, so that the plans of two graphs can be compared."""

import re
from typing import Any

import torch

from mlx_coverage.lowering.plan import Delegated, PartitionPlan
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.judge import Supported


def describe_plan(plan: PartitionPlan) -> list[Any]:
    """In graph order: op, which earlier nodes it reads, result, verdict and placement."""
    positions = {node: index for index, node in enumerate(plan.placements)}
    unbacked: dict[str, str] = {}
    described = []
    for node, placement in plan.placements.items():
        verdict = plan.verdicts[node]
        described.append(
            (
                name_target(canonicalize(node.target)),
                [positions.get(source) for source in node.all_input_nodes],
                _describe(node.meta.get("val"), unbacked),
                "supported" if isinstance(verdict, Supported) else verdict.reasons,
                placement if isinstance(placement, Delegated) else placement.reasons,
            )
        )
    sizes = [len(partition) for partition in plan.partitions]
    return [*described, sizes]


def _describe(value: Any, unbacked: dict[str, str]) -> Any:
    if isinstance(value, torch.Tensor):
        sizes = [_describe(size, unbacked) for size in (*value.shape, *value.stride())]
        return value.dtype, str(value.device), sizes
    if isinstance(value, (list, tuple)):
        return [_describe(item, unbacked) for item in value]

    # Sizes that depend on data are numbered anew by each trace.
    def rename(match: re.Match[str]) -> str:
        return unbacked.setdefault(match[0], f"data{len(unbacked)}")

    return re.sub(r"\bu\d+\b", rename, str(value))
