"""The plan made again with one thing changed: an option of the partitioner, or the dtype."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node
from torch.utils._pytree import tree_map

from mlx_coverage.analyze.estimates import WhatIf
from mlx_coverage.analyze.kernels import find_missing_kernels
from mlx_coverage.analyze.memory import measure_memory
from mlx_coverage.analyze.model import NONE
from mlx_coverage.analyze.schedule import Schedule
from mlx_coverage.lowering.plan import Delegated, Fallback, PartitionPlan
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import name_node
from mlx_coverage.registry.judge import Supported, Unsupported
from mlx_coverage.registry.reasons import Reason
from mlx_coverage.registry.spec import Registry

Plans = Mapping[str, PartitionPlan]

# Of all methods: plans of more nodes are not made again.
MOST_NODES = 10_000
# Ops that are tried for `--exclude`, those of the smallest partitions.
_MOST_OPS = 12
_FROM, _TO = torch.float32, torch.bfloat16


def suppose_changes(plans: Plans, registry: Registry) -> tuple[WhatIf, ...]:
    """What would change the program for the better, or for no worse.

    Args:
        plans: of each method.
        registry: that they were judged by.
    """
    if sum(len(plan.placements) for plan in plans.values()) > MOST_NODES:
        return ()
    return (*_try_sizes(plans), *_try_exclusions(plans), *_try_dtype(plans, registry))


def _try_sizes(plans: Plans) -> Iterator[WhatIf]:
    """`min_partition_size`, as large as leaves out the smallest partitions, one size after another.

    Only those that leave at least one partition and lessen what crosses.
    """
    now = _summarize("", plans)
    best = now.crossing_bytes
    sizes = sorted({_count_work(plan, p) for plan in plans.values() for p in plan.partitions})
    for least in (size + 1 for size in sizes[:-1]):
        changed = {
            name: replace(plan, options=replace(plan.options, min_partition_size=least))
            .suppose(plan.verdicts)
            for name, plan in plans.items()
        }  # fmt: skip
        found = _summarize(f"min_partition_size={least}", changed)
        fewer = 0 < found.partitions < now.partitions
        if fewer and found.crossing_bytes < best and _loads(plans, changed):
            best = found.crossing_bytes
            yield found


def _try_exclusions(plans: Plans) -> Iterator[WhatIf]:
    """The op without which there are fewest partitions, where there are fewer."""
    now = _summarize("", plans)
    found = []
    for op in _list_candidates(plans) if now.partitions > 1 else ():
        reason = Reason(reasons.EXCLUDED, f"{op} is in exclude_ops")
        changed = {name: _exclude(plan, op, reason) for name, plan in plans.items()}
        outcome = _summarize(f"--exclude {op}", changed)
        if 0 < outcome.partitions < now.partitions and _loads(plans, changed):
            found.append(outcome)
    yield from sorted(found, key=lambda w: (w.partitions, -w.delegated, w.crossing_bytes))[:1]


def _list_candidates(plans: Plans) -> Sequence[str]:
    """Ops of the smallest partitions that ExecuTorch would not have to decompose."""
    members = [
        (len(partition), plan.verdicts.get(node), node)
        for plan in plans.values() for partition in plan.partitions for node in partition
    ]  # fmt: skip
    ranked = sorted(members, key=lambda member: member[0])
    ops = (name_node(n) for _, v, n in ranked if isinstance(v, Supported) and not v.spec.whole)
    return list(dict.fromkeys(ops))[:_MOST_OPS]


def _exclude(plan: PartitionPlan, op: str, reason: Reason) -> PartitionPlan:
    kept = {node: Unsupported((reason,)) for node in plan.verdicts if name_node(node) == op}
    return plan.suppose({**plan.verdicts, **kept})


def _loads(now: Plans, then: Plans) -> bool:
    """Whether ExecuTorch has kernels for what would fall back in addition."""
    targets = {
        node.target
        for name, plan in then.items()
        for node, placement in plan.placements.items()
        if isinstance(placement, Fallback) and isinstance(now[name].placements[node], Delegated)
    }
    return not find_missing_kernels(target for target in targets if callable(target))


def _try_dtype(plans: Plans, registry: Registry) -> Iterator[WhatIf]:
    """Every float32 tensor in bfloat16, weights and caches among them."""
    values = [n.meta.get("val") for plan in plans.values() for n in plan.constants]
    if not any(isinstance(v, torch.Tensor) and v.dtype is _FROM for v in values):
        return
    changed = {name: _convert(plan).judge_again(registry) for name, plan in plans.items()}
    memory = measure_memory(changed)
    yield replace(_summarize("bfloat16", changed), total_bytes=memory.total_bytes)


def _convert(plan: PartitionPlan) -> PartitionPlan:
    copied = plan.copy()
    for node in copied.graph.nodes:
        node.meta = {**node.meta, "val": tree_map(_convert_value, node.meta.get("val"))}
        node.args = tree_map(_convert_dtype, node.args)
        node.kwargs = tree_map(_convert_dtype, node.kwargs)
    return copied


def _convert_value(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype is _FROM:
        return value.to(_TO)
    return value


def _convert_dtype(value: Any) -> Any:
    return _TO if value is _FROM else value


def _count_work(plan: PartitionPlan, members: Sequence[Node]) -> int:
    """Nodes that `min_partition_size` counts: views and sizes are none."""
    verdicts = (plan.verdicts.get(node) for node in members)
    return sum(isinstance(v, Supported) and not v.spec.view for v in verdicts)


def _summarize(change: str, plans: Plans) -> WhatIf:
    crossed = 0
    for plan in plans.values():
        passages = Schedule(plan).list_passages().items()
        crossed += sum(passage.bytes for ends, passage in passages if NONE not in ends)
    return WhatIf(
        change=change,
        delegated=sum(plan.delegated for plan in plans.values()),
        partitions=sum(len(plan.partitions) for plan in plans.values()),
        crossing_bytes=crossed,
    )
