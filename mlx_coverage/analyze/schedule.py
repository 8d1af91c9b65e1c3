"""A plan in order of execution: its segments, and what passes between them."""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from mlx_coverage.analyze.cost import measure_value
from mlx_coverage.lowering.plan import PartitionPlan, find_owned_buffers

OUTSIDE = -1


@dataclass(frozen=True)
class Stretch:
    """A partition, or the fallback nodes that run between two.

    Attributes:
        partition: number of the partition, or None.
        nodes: the counted ones, in order of the graph.
    """

    partition: int | None
    nodes: Sequence[Node]


@dataclass
class Passage:
    """Values that pass from one stretch to another.

    Attributes:
        tensors: the tensors, by the node that gives each (a `getitem` for one of several).
        scalars: sizes and other numbers.
        makers: the counted nodes that made them, in order.
    """

    tensors: list[Node] = field(default_factory=list)
    scalars: int = 0
    makers: list[Node] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Size of the tensors."""
        return sum(measure_value(node.meta.get("val")) for node in self.tensors)


class Schedule:
    """The stretches of a plan, in an order in which they can run.

    Fallback nodes run as soon as the partitions that they read from have run, so that one
    stretch of them lies between two partitions at most. Partitions run in the plan's order.

    Attributes:
        stretches: in order; none is empty.
        positions: counted node to the index of its stretch.
    """

    def __init__(self, plan: PartitionPlan) -> None:
        """Reads the plan's graph, in linear time."""
        self._plan = plan
        self._owned = find_owned_buffers(plan)
        self._leaving = self._find_leaving()
        stages = _find_stages(plan)
        partitions = len(plan.partitions)
        nodes: dict[int, list[Node]] = {}
        for node in plan.placements:
            nodes.setdefault(stages[node], []).append(node)
        self.stretches: list[Stretch] = []
        self._order: dict[int, int] = {}
        for stage in sorted(nodes):
            self._order[stage] = len(self.stretches)
            number = stage // 2 if stage % 2 and stage < 2 * partitions else None
            self.stretches.append(Stretch(number, nodes[stage]))
        self._stages = stages
        self.positions = {node: self._order[stages[node]] for node in plan.placements}

    def list_passages(self) -> dict[tuple[int, int], Passage]:
        """What passes into and out of partitions, keyed by the stretches it passes between.

        `OUTSIDE` stands for the caller and for what ExecuTorch keeps between calls.
        """
        found: dict[tuple[int, int], Passage] = {}
        for node in self._plan.graph.nodes:
            if not _is_value(node) or node in self._plan.constants:
                continue
            source = self._locate(node)
            targets = dict.fromkeys(self._list_targets(node))
            for target in targets:
                if target == source or not self._is_boundary(source, target):
                    continue
                passage = found.setdefault((source, target), Passage())
                if isinstance(node.meta.get("val"), torch.Tensor):
                    passage.tensors.append(node)
                else:
                    passage.scalars += 1
                maker = find_maker(node)
                if maker in self.positions and maker not in passage.makers[-1:]:
                    passage.makers.append(maker)
        return {key: found[key] for key in sorted(found, key=_sort_key)}

    def _locate(self, node: Node) -> int:
        return self._order.get(self._stages.get(find_maker(node), OUTSIDE), OUTSIDE)

    def _list_targets(self, node: Node) -> Iterator[int]:
        if node in self._owned:
            return
        for user in node.users:
            if user.op == "output":
                if node in self._leaving:
                    yield OUTSIDE
            elif user in self.positions:
                yield self.positions[user]

    def _find_leaving(self) -> frozenset[Node]:
        # The new value of a buffer that the delegate owns stays there.
        signature = self._plan.signature
        results = [
            arg for output in self._plan.graph.find_nodes(op="output") for arg in output.args
        ]
        leaving = list(results[0]) if results and isinstance(results[0], (list, tuple)) else results
        if signature is not None:
            owned = {signature.inputs_to_buffers[placeholder.name] for placeholder in self._owned}
            leaving = [
                node
                for node, spec in zip(leaving, signature.output_specs, strict=True)
                if spec.kind is not OutputKind.BUFFER_MUTATION or spec.target not in owned
            ]
        return frozenset(node for node in leaving if isinstance(node, Node))

    def _is_boundary(self, source: int, target: int) -> bool:
        # What passes among fallback nodes, or through them to the caller, costs nothing.
        ends = [self.stretches[i] for i in (source, target) if i != OUTSIDE]
        return any(stretch.partition is not None for stretch in ends)


def _find_stages(plan: PartitionPlan) -> dict[Node, int]:
    # Partition p runs at stage 2 p + 1; a fallback node at the even stage after its inputs'.
    stages: dict[Node, int] = {}
    for number, members in enumerate(plan.partitions):
        stages.update(dict.fromkeys(members, 2 * number + 1))
    for node in plan.graph.nodes:
        if node.op == "call_function" and node not in stages:
            latest = max((stages.get(source, 0) for source in node.all_input_nodes), default=0)
            stages[node] = latest + latest % 2
    return stages


def _is_value(node: Node) -> bool:
    if node.op not in ("placeholder", "call_function"):
        return False
    return not isinstance(node.meta.get("val"), (list, tuple))


def find_maker(node: Node) -> Node:
    """The call that a `getitem` takes a result of; any other node itself."""
    while node.target is operator.getitem and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _sort_key(ends: tuple[int, int]) -> tuple[int, float]:
    # The caller's inputs come first, and what leaves a stretch for the caller last.
    source, target = ends
    return source, float("inf") if target == OUTSIDE else target
