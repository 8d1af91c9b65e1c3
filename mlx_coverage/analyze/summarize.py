"""Plans and the lowered program, summed up as a CoverageReport. Nothing is decided here."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Any

import torch
from torch.fx import GraphModule, Node

from mlx_coverage import __version__
from mlx_coverage.analyze.attest import find_delegate, list_inside, list_outside
from mlx_coverage.analyze.capture import Capture
from mlx_coverage.analyze.failures import CaptureError
from mlx_coverage.analyze.model import (
    STAGES,
    CoverageReport,
    Finding,
    MethodReport,
    ModulePath,
    OpCount,
    ReasonText,
    Segment,
    Stage,
    StageName,
    Versions,
)
from mlx_coverage.analyze.sources import locate_node
from mlx_coverage.lowering.partitioner import INDEX
from mlx_coverage.lowering.plan import Delegated, Fallback, PartitionPlan
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.reasons import Reason

_INDEX_IN_PATH = re.compile(r"(?<![^.])\d+(?![^.])")
_STRICT_PATH = re.compile(r"\[['\"]?(\w+)['\"]?\]")


def summarize(model: str, capture: Capture, verified: bool = False) -> CoverageReport:
    """The report of a model that reached the plan."""
    return CoverageReport(
        model=model,
        stages=_list_stages(capture.refused, "plan"),
        methods=tuple(
            _summarize_method(name, plan, capture.lowered.exported_program(name).graph_module)
            for name, plan in capture.plans.items()
        ),
        verified=verified,
        versions=_read_versions(),
    )


def summarize_failure(model: str, failure: CaptureError) -> CoverageReport:
    """The report of a model that did not: the stage that failed, and why."""
    reached = STAGES[: STAGES.index(failure.stage)]
    stages = _list_stages(failure, reached[-1] if reached else None)
    return CoverageReport(model, stages, (), verified=False, versions=_read_versions())


def _list_stages(failure: CaptureError | None, last: StageName | None) -> tuple[Stage, ...]:
    stages = []
    for name in STAGES:
        if failure is not None and name == failure.stage:
            stages.append(Stage(name, "failed", failure.sentence, failure.source))
        elif last is not None and STAGES.index(name) <= STAGES.index(last):
            stages.append(Stage(name, "ok"))
        else:
            stages.append(Stage(name, "not reached"))
    return tuple(stages)


def _read_versions() -> Versions:
    return Versions(__version__, str(torch.__version__), version("executorch"))


def _summarize_method(name: str, plan: PartitionPlan, lowered: GraphModule) -> MethodReport:
    nodes: Counter[str] = Counter()
    delegated: Counter[str] = Counter()
    for node, placement in plan.placements.items():
        nodes[_name(node)] += 1
        delegated[_name(node)] += isinstance(placement, Delegated)
    return MethodReport(
        name=name,
        nodes=len(plan.placements),
        delegated=plan.delegated,
        partitions=len(plan.partitions),
        findings=_list_findings(plan),
        ops=tuple(OpCount(op, count, delegated[op]) for op, count in _rank(nodes)),
        segments=_list_segments(plan, lowered),
    )


def _list_findings(plan: PartitionPlan) -> tuple[Finding, ...]:
    groups: dict[Any, list[tuple[Node, Fallback]]] = {}
    for node, placement in plan.placements.items():
        if isinstance(placement, Fallback):
            key = (_name(node), placement.reasons[0], locate_node(node))
            groups.setdefault(key, []).append((node, placement))
    findings = [
        Finding(
            op=op,
            count=len(members),
            reason=_describe(reason),
            others=tuple(
                _describe(r) for r in dict.fromkeys(r for _, p in members for r in p.reasons[1:])
            ),
            modules=fold_modules(_find_module(node) for node, _ in members),
            source=source,
        )
        for (op, reason, source), members in groups.items()
    ]
    # Stable: findings of equal count stay in the order of the program.
    return tuple(sorted(findings, key=lambda finding: -finding.count))


def _describe(reason: Reason) -> ReasonText:
    kind = reason.kind
    return ReasonText(
        kind.slug, kind.title, reason.text, kind.remedy, reason.argument, reason.culprit
    )


def _find_module(node: Node) -> str:
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack.values())), ("", None))[0] if stack else ""
    # A strict export writes L['self'].layers[0].
    path = _STRICT_PATH.sub(r".\1", path.removeprefix("L['self']")).replace("._modules", "")
    # A module called twice carries the number of the call.
    return path.split("@")[0].strip(".")


def fold_modules(paths: Iterable[str]) -> tuple[ModulePath, ...]:
    """Fold `layers.0` to `layers.11` into `layers.*`, twelve instances."""
    counts = Counter(paths)
    folded: dict[str, list[str]] = {}
    for path in counts:
        folded.setdefault(_INDEX_IN_PATH.sub("*", path), []).append(path)
    return tuple(
        ModulePath(
            path=pattern if len(members) > 1 else members[0],
            instances=len(members),
            nodes=sum(counts[member] for member in members),
        )
        for pattern, members in folded.items()
    )


def _list_segments(plan: PartitionPlan, lowered: GraphModule) -> tuple[Segment, ...]:
    placements = list(plan.placements.values())
    outside = set(list_outside(lowered))
    pieces: list[tuple[int | None, list[Node]]] = []
    for node in lowered.graph.nodes:
        module = find_delegate(lowered, node)
        if module is not None:
            inside = list_inside(module)
            indices = (placements[n.meta[INDEX]] for n in inside if INDEX in n.meta)
            numbers = {p.partition for p in indices if isinstance(p, Delegated)}
            pieces.append((min(numbers, default=-1), inside))
        elif node in outside:
            pieces.append((None, [node]))
    return tuple(
        _make_segment(number, [node for _, nodes in group for node in nodes])
        for number, group in groupby(pieces, key=lambda piece: piece[0])
    )


def _make_segment(partition: int | None, nodes: Sequence[Node]) -> Segment:
    on_mlx = partition is not None
    ops = tuple(
        OpCount(op, count, count if on_mlx else 0)
        for op, count in _rank(Counter(map(_name, nodes)))
    )
    return Segment("mlx" if on_mlx else "cpu", len(nodes), partition, ops)


def _rank(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _name(node: Node) -> str:
    return name_target(canonicalize(node.target))
