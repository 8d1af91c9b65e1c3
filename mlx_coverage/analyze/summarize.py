"""Plans, summed up as a CoverageReport. Nothing is decided here."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TypeVar

import torch
from torch.fx import Node

from mlx_coverage import __version__
from mlx_coverage.analyze.blockers import Search
from mlx_coverage.analyze.capture import Capture
from mlx_coverage.analyze.catalog import describe_limitation
from mlx_coverage.analyze.causes import Cause, find_causes
from mlx_coverage.analyze.cost import (
    Cost,
    describe_value,
    list_symbols,
    measure_node,
    measure_value,
)
from mlx_coverage.analyze.estimates import Memory, SlowOp, Speed, WhatIf
from mlx_coverage.analyze.excerpts import read_excerpts
from mlx_coverage.analyze.failures import CaptureError, condense
from mlx_coverage.analyze.hierarchy import INDEX_IN_PATH, build_tree, list_modules
from mlx_coverage.analyze.kernels import find_missing_kernels, find_wrong_kernels
from mlx_coverage.analyze.memory import measure_memory
from mlx_coverage.analyze.model import (
    NONE,
    STAGES,
    Blocker,
    Constants,
    CoverageReport,
    Crossing,
    Figures,
    Finding,
    Graph,
    MethodReport,
    ModulePath,
    OpCount,
    OpStatus,
    ReasonText,
    Refusal,
    SearchExtent,
    Segment,
    SizeHint,
    Source,
    SourceFile,
    Stage,
    StageName,
    Step,
    TargetName,
    Versions,
)
from mlx_coverage.analyze.schedule import Schedule, Stretch, find_maker
from mlx_coverage.analyze.slow_ops import find_slow
from mlx_coverage.analyze.sources import locate_node
from mlx_coverage.analyze.speed import measure_speed, measure_step
from mlx_coverage.analyze.whatifs import suppose_changes
from mlx_coverage.lowering.plan import Delegated, Fallback, PartitionPlan
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import Target, canonicalize, name_node
from mlx_coverage.registry.reasons import Reason
from mlx_coverage.registry.spec import Registry

_T = TypeVar("_T")
_Gains = tuple[tuple[Blocker, ...], tuple[Step, ...], SearchExtent]


def summarize(
    model: str,
    capture: Capture,
    verified: bool = False,
    registry: Registry | None = None,
    target: TargetName = "mlx-coverage",
    remarks: Sequence[str] = (),
    ratio: float | None = None,
) -> CoverageReport:
    """The report of a model that reached the plan.

    Args:
        model: as it was named on the command line.
        capture: the plans.
        verified: whether the full lowering was compared with them.
        registry: that they were judged by; the package's own by default.
        target: whose plans they are.
        remarks: what is to be known before the figures.
        ratio: of a measured time to its bound, as `bench` finds it.
    """
    registry = registry if registry is not None else default_registry()
    ours = target == "mlx-coverage"
    missing: list[str] = []
    methods = tuple(
        _Summary(name, plan, registry, missing, ratio).make()
        for name, plan in capture.plans.items()
    )
    nothing: tuple[tuple[SourceFile, ...], tuple[str, ...]] = ((), ())
    sources = [source for method in methods for source in method.sources]
    files, unreadable = _attempt("source", lambda: read_excerpts(sources), nothing, missing)
    plans = capture.plans
    memory = _attempt("memory", lambda: measure_memory(plans), Memory(), missing)
    changes: tuple[WhatIf, ...] = ()
    if ours:
        changes = _attempt("what-ifs", lambda: suppose_changes(plans, registry), changes, missing)
    return CoverageReport(
        model=model,
        stages=_list_stages(capture.refusals, "plan"),
        methods=methods,
        verified=verified,
        versions=read_versions(),
        statuses=_list_statuses(capture.plans.values(), registry) if ours else (),
        files=files,
        missing=(*dict.fromkeys(missing), *unreadable),
        target=target,
        remarks=tuple(remarks),
        memory=memory,
        what_ifs=changes,
    )


def summarize_failure(
    model: str, failure: CaptureError, target: TargetName = "mlx-coverage"
) -> CoverageReport:
    """The report of a model that did not: the stage that failed, and why."""
    reached = STAGES[: STAGES.index(failure.stage)]
    stages = _list_stages([failure], reached[-1] if reached else None)
    return CoverageReport(
        model,
        stages,
        (),
        verified=False,
        versions=read_versions(),
        target=target,
        remarks=failure.remarks,
    )


def _list_stages(failures: Sequence[CaptureError], last: StageName | None) -> tuple[Stage, ...]:
    stages = []
    for name in STAGES:
        refusals = [Refusal(f.sentence, f.source, f.kind.slug) for f in failures if f.stage == name]
        if refusals:
            first, *further = refusals
            facts = (first.sentence, first.source, first.slug, tuple(further))
            stages.append(Stage(name, "failed", *facts))
        elif last is not None and STAGES.index(name) <= STAGES.index(last):
            stages.append(Stage(name, "ok"))
        else:
            stages.append(Stage(name, "not reached"))
    return tuple(stages)


def read_versions() -> Versions:
    """What a report is made with."""
    return Versions(__version__, str(torch.__version__), version("executorch"))


def _attempt(what: str, make: Callable[[], _T], instead: _T, missing: list[str]) -> _T:
    try:
        return make()
    except Exception as error:  # noqa: BLE001  (the rest of the report stands without the part)
        missing.append(f"{what}: {condense(error)}")
        return instead


def _list_statuses(plans: Iterable[PartitionPlan], registry: Registry) -> tuple[OpStatus, ...]:
    targets = {_name(n): canonicalize(n.target) for plan in plans for n in plan.placements}
    return tuple(_describe_op(name, targets[name], registry) for name in sorted(targets))


def _describe_op(name: str, target: Target, registry: Registry) -> OpStatus:
    spec, gap = registry.get(target), registry.get_gap(target)
    if spec is not None:
        notes = tuple(map(describe_limitation, spec.limitations))
        return OpStatus(name, "partial" if notes else "full", notes)
    return OpStatus(name, "gap", (gap.why,)) if gap is not None else OpStatus(name, "none")


class _Summary:
    """One method, in the making."""

    def __init__(
        self,
        name: str,
        plan: PartitionPlan,
        registry: Registry,
        missing: list[str],
        ratio: float | None,
    ) -> None:
        self._name, self._plan, self._missing, self._ratio = name, plan, missing, ratio
        self._references = {p.spec.target: p.torch_function for p in registry.patterns}
        self._nodes = list(plan.placements)
        self._numbers = {node: i for i, node in enumerate(self._nodes)}
        self._costs = {node: self._measure(node) for node in self._nodes}
        self._figures = {node: cost.figures for node, cost in self._costs.items()}
        self._places = {node: locate_node(node) for node in self._nodes}
        self._causes = find_causes(plan, self._places.__getitem__)
        self._schedule = Schedule(plan)
        known: dict[Node, Reason] = {}
        self._kernels = _attempt("missing kernels", self._find_kernels, known, missing)
        self._wrong = _attempt("wrong kernels", self._find_wrong, known, missing)

    def make(self) -> MethodReport:
        """The report of the method."""
        plan = self._plan
        findings, finding_of = self._list_findings()
        ops = _count_ops(self._nodes, plan)
        modules, places, place_of = build_tree(
            (node, self._figures[node], self._is_delegated(node)) for node in self._nodes
        )
        sources = tuple(dict.fromkeys(self._places.values()))
        unknown: _Gains = ((), (), SearchExtent(0, (), "complete"))
        blockers, way, extent = _attempt("blockers", self._find_blockers, unknown, self._missing)
        return MethodReport(
            name=self._name,
            total=self._add(self._nodes),
            mlx=self._add(filter(self._is_delegated, self._nodes)),
            partitions=len(plan.partitions),
            findings=findings,
            ops=ops,
            segments=tuple(self._describe_segment(stretch) for stretch in self._schedule.stretches),
            crossings=tuple(self._list_crossings()),
            modules=modules,
            places=places,
            sources=sources,
            graph=self._make_graph(ops, place_of, sources, finding_of),
            blockers=blockers,
            way=way,
            search=extent,
            constants=self._weigh_constants(),
            sizes=self._list_sizes(),
            kernels_missing=tuple(sorted({_name(node) for node in self._kernels})),
            kernels_wrong=tuple(dict.fromkeys(_name(node) for node in self._wrong)),
            speed=_attempt("speed", self._measure_speed, Speed(), self._missing),
            step=_attempt("speed of a step", self._measure_step, None, self._missing),
            slow=_attempt("slow ops", self._find_slow, (), self._missing),
        )

    def _measure(self, node: Node) -> Cost:
        instead = Cost(None, 0, 0)
        return _attempt(
            f"cost of {_name(node)}",
            lambda: measure_node(node, self._references),
            instead,
            self._missing,
        )

    def _measure_speed(self) -> Speed:
        return measure_speed(self._plan, self._costs, self._ratio)

    def _measure_step(self) -> Speed | None:
        return measure_step(self._plan, self._measure, self._ratio)

    def _find_slow(self) -> tuple[SlowOp, ...]:
        return find_slow(filter(self._is_delegated, self._nodes))

    def _find_kernels(self) -> dict[Node, Reason]:
        fallback = [node for node in self._nodes if not self._is_delegated(node)]
        targets = {node: node.target for node in fallback if callable(node.target)}
        missing = find_missing_kernels(targets.values()) if targets else {}
        return {node: missing[target] for node, target in targets.items() if target in missing}

    def _find_wrong(self) -> dict[Node, Reason]:
        return find_wrong_kernels(node for node in self._nodes if not self._is_delegated(node))

    def _find_blockers(self) -> _Gains:
        keys = {node: (cause.op, cause.reason.slug) for node, cause in self._causes.items()}
        search = Search(self._plan, self._figures, keys)
        blockers = search.rank()
        return blockers, search.find_way(blockers), search.describe_extent()

    def _is_delegated(self, node: Node) -> bool:
        return isinstance(self._plan.placements[node], Delegated)

    def _add(self, nodes: Iterable[Node]) -> Figures:
        return sum((self._figures[node] for node in nodes), Figures())

    def _list_findings(self) -> tuple[tuple[Finding, ...], dict[Node, int]]:
        groups: dict[Cause, list[Node]] = {}
        for node, cause in self._causes.items():
            groups.setdefault(cause, []).append(node)
        # Stable: findings of equal count stay in the order of the program.
        ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
        findings = tuple(self._describe_finding(cause, nodes) for cause, nodes in ranked)
        numbers = {node: i for i, (_, nodes) in enumerate(ranked) for node in nodes}
        return findings, numbers

    def _describe_finding(self, cause: Cause, nodes: Sequence[Node]) -> Finding:
        ops = sorted(_count_ops(nodes, self._plan), key=lambda count: count.op != cause.op)
        places = dict.fromkeys(self._places[node] for node in nodes)
        return Finding(
            op=cause.op,
            figures=self._add(nodes),
            reason=describe_reason(cause.reason),
            others=tuple(map(describe_reason, self._list_others(cause, nodes))),
            modules=fold_modules(map(_find_module, nodes)),
            source=cause.source,
            ops=tuple(ops),
            lines=tuple(place for place in places if place != cause.source and place.file),
        )

    def _list_others(self, cause: Cause, nodes: Sequence[Node]) -> Iterable[Reason]:
        placements = (self._plan.placements[node] for node in nodes)
        all_of_them = (r for p in placements if isinstance(p, Fallback) for r in p.reasons)
        further = [reason for reason in all_of_them if not cause.covers(reason)]
        kernels = [found[n] for found in (self._kernels, self._wrong) for n in nodes if n in found]
        return dict.fromkeys(further + kernels)

    def _describe_segment(self, stretch: Stretch) -> Segment:
        return Segment(
            device="cpu" if stretch.partition is None else "mlx",
            partition=stretch.partition,
            figures=self._add(stretch.nodes),
            ops=_count_ops(stretch.nodes, self._plan),
        )

    def _list_crossings(self) -> Iterator[Crossing]:
        for (source, target), passage in self._schedule.list_passages().items():
            yield Crossing(
                source=source,
                target=target,
                tensors=len(passage.tensors),
                bytes=passage.bytes,
                scalars=passage.scalars,
                nodes=tuple(self._numbers[node] for node in passage.makers),
            )

    def _make_graph(
        self,
        ops: Sequence[OpCount],
        places: Mapping[str, int],
        sources: Sequence[Source],
        findings: Mapping[Node, int],
    ) -> Graph:
        op_numbers = {op.op: i for i, op in enumerate(ops)}
        source_numbers = {source: i for i, source in enumerate(sources)}
        results = [describe_value(node.meta.get("val")) for node in self._nodes]
        kinds = {text: i for i, text in enumerate(dict.fromkeys(results))}
        costs = self._costs.values()
        edges = [
            (self._numbers[maker], self._numbers[node])
            for node in self._nodes
            for maker in dict.fromkeys(map(find_maker, node.all_input_nodes))
            if maker in self._numbers
        ]
        return Graph(
            op=tuple(op_numbers[_name(node)] for node in self._nodes),
            place=tuple(places[_find_module(node)] for node in self._nodes),
            source=tuple(source_numbers[self._places[node]] for node in self._nodes),
            segment=tuple(self._schedule.positions[node] for node in self._nodes),
            finding=tuple(findings.get(node, NONE) for node in self._nodes),
            result=tuple(kinds[text] for text in results),
            flops=tuple(NONE if cost.flops is None else cost.flops for cost in costs),
            bytes=tuple(cost.read + cost.written for cost in costs),
            results=tuple(kinds),
            edges_from=tuple(source for source, _ in edges),
            edges_to=tuple(target for _, target in edges),
        )

    def _weigh_constants(self) -> Constants:
        state = self._plan.signature.buffers_to_mutate if self._plan.signature else {}
        written = set(state.values())
        tensors = total = mlx = cpu = kept = 0
        for node in self._plan.graph.find_nodes(op="placeholder"):
            size = measure_value(node.meta.get("val"))
            if node not in self._plan.constants:
                buffers = self._plan.signature.inputs_to_buffers if self._plan.signature else {}
                kept += size if buffers.get(node.name) in written else 0
                continue
            readers = {self._is_delegated(user) for user in node.users if user in self._numbers}
            tensors += bool(readers)
            total += size if readers else 0
            mlx += size if True in readers else 0
            cpu += size if False in readers else 0
        return Constants(tensors, total, mlx, cpu, kept)

    def _list_sizes(self) -> tuple[SizeHint, ...]:
        return list_symbols(node.meta.get("val") for node in self._plan.graph.nodes)


def _count_ops(nodes: Iterable[Node], plan: PartitionPlan) -> tuple[OpCount, ...]:
    counts: Counter[str] = Counter()
    delegated: Counter[str] = Counter()
    for node in nodes:
        counts[_name(node)] += 1
        delegated[_name(node)] += isinstance(plan.placements[node], Delegated)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(OpCount(op, count, delegated[op]) for op, count in ranked)


def describe_reason(reason: Reason) -> ReasonText:
    """The reason as the report holds it."""
    kind = reason.kind
    return ReasonText(
        kind.slug, kind.title, reason.text, reason.remedy, reason.argument, reason.culprit
    )


def _find_module(node: Node) -> str:
    modules = list_modules(node)
    return modules[-1][0] if modules else ""


def fold_modules(paths: Iterable[str]) -> tuple[ModulePath, ...]:
    """Fold `layers.0` to `layers.11` into `layers.*`, twelve instances."""
    counts = Counter(paths)
    folded: dict[str, list[str]] = {}
    for path in counts:
        folded.setdefault(INDEX_IN_PATH.sub("*", path), []).append(path)
    return tuple(
        ModulePath(
            path=pattern if len(members) > 1 else members[0],
            instances=len(members),
            nodes=sum(counts[member] for member in members),
        )
        for pattern, members in folded.items()
    )


def _name(node: Node) -> str:
    return name_node(node)
