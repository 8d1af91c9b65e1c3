"""The plans of the two delegates, contrasted op by op."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain, starmap
from typing import Any

import torch
from torch._guards import detect_fake_mode
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils._pytree import tree_flatten, tree_unflatten

from mlx_coverage.analyze.capture import Capture
from mlx_coverage.analyze.contrast import Line, MethodContrast, OpContrast, Remark, Share
from mlx_coverage.analyze.sources import locate_node
from mlx_coverage.analyze.summarize import describe_reason
from mlx_coverage.analyze.upstream.planning import find_functional
from mlx_coverage.lowering.plan import Delegated, Fallback, PartitionPlan, Placement
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.judge import Unsupported, judge_node
from mlx_coverage.registry.reasons import Reason
from mlx_coverage.registry.spec import Registry

# Reasons about the values of a call. That the registry has no entry for an op says nothing
# about what another makes of it.
DOMAIN = frozenset(
    {
        reasons.RANDOM,
        reasons.DTYPE,
        reasons.MIXED_DTYPE,
        reasons.RANK,
        reasons.ZERO_SIZE,
        reasons.ARGUMENT_VALUE,
    }
)


def contrast_plans(
    ours: Capture, theirs: Capture, registry: Registry
) -> tuple[MethodContrast, ...]:
    """What each delegate takes of each method.

    Args:
        ours: the plans of this package's delegate.
        theirs: those of ExecuTorch's own, of the same methods.
        registry: that decides which of their claims are disputed.
    """
    return tuple(
        _contrast_method(name, plan, theirs.plans[name], registry)
        for name, plan in ours.plans.items()
    )


def _contrast_method(
    name: str, ours: PartitionPlan, theirs: PartitionPlan, registry: Registry
) -> MethodContrast:
    groups = _group(ours), _group(theirs)
    ops = []
    for op in dict.fromkeys(chain(*groups)):
        mine, other = (group.get(op, {}) for group in groups)
        disputed = _list_remarks(_dispute(other, theirs, registry))
        ops.append(OpContrast(op, _describe(mine), _describe(other), disputed))
    ops.sort(key=_rank)
    return MethodContrast(
        name,
        _count(ours.placements),
        _count(theirs.placements),
        len(ours.partitions),
        len(theirs.partitions),
        tuple(ops),
    )


def _group(plan: PartitionPlan) -> dict[str, dict[Node, Placement]]:
    groups: dict[str, dict[Node, Placement]] = {}
    for node, placement in plan.placements.items():
        name = name_target(find_functional(canonicalize(node.target)))
        groups.setdefault(name, {})[node] = placement
    return groups


def _rank(row: OpContrast) -> tuple[int, int, str]:
    return row.agreed, -max(row.ours.nodes, row.theirs.nodes), row.op


def _count(placements: Mapping[Node, Placement]) -> Share:
    return Share(len(placements), sum(isinstance(p, Delegated) for p in placements.values()))


def _describe(placements: Mapping[Node, Placement]) -> Share:
    count = _count(placements)
    declined = [(n, p.reasons[0]) for n, p in placements.items() if isinstance(p, Fallback)]
    return Share(count.nodes, count.delegated, _list_remarks(declined))


def _dispute(
    placements: Mapping[Node, Placement], plan: PartitionPlan, registry: Registry
) -> Iterator[tuple[Node, Reason]]:
    for node, placement in placements.items():
        if not isinstance(placement, Delegated):
            continue
        verdict = judge_node(node, registry, plan.constants)
        found = verdict.reasons if isinstance(verdict, Unsupported) else ()
        if any(reason.kind is reasons.NO_ENTRY for reason in found):
            found = tuple(_judge_parts(node, registry))
        yield from ((node, reason) for reason in found[:1] if reason.kind in DOMAIN)


def _judge_parts(node: Node, registry: Registry) -> Iterator[Reason]:
    # Theirs keeps ops whole that ours takes decomposed, such as `matmul` and `ones`.
    target = canonicalize(node.target)
    if not isinstance(target, OpOverload) or not target._can_decompose():
        return
    whole = map_arg((node.args, node.kwargs), lambda source: source.meta["val"])
    values, structure = tree_flatten(whole)

    def call(*tensors: torch.Tensor) -> Any:
        rest = iter(tensors)
        filled = [next(rest) if isinstance(v, torch.Tensor) else v for v in values]
        args, kwargs = tree_unflatten(filled, structure)
        return target(*args, **kwargs)

    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    with detect_fake_mode(values) or nullcontext():
        parts = make_fx(call)(*tensors).graph
    for part in parts.nodes:
        if part.op != "call_function":
            continue
        verdict = judge_node(part, registry)
        for reason in verdict.reasons if isinstance(verdict, Unsupported) else ():
            if reason.kind in DOMAIN:
                name = name_target(canonicalize(part.target))
                yield replace(reason, text=f"{name}, which it consists of: {reason.text}")


def _list_remarks(said: Iterable[tuple[Node, Reason]]) -> tuple[Remark, ...]:
    groups: dict[Reason, list[Node]] = {}
    for node, reason in said:
        groups.setdefault(reason, []).append(node)
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    return tuple(
        Remark(describe_reason(reason), len(nodes), _count_lines(nodes)) for reason, nodes in ranked
    )


def _count_lines(nodes: Iterable[Node]) -> tuple[Line, ...]:
    return tuple(starmap(Line, Counter(map(locate_node, nodes)).items()))
