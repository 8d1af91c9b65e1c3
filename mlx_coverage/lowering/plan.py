"""The partition plan: where every node of an edge program goes, and why.

Supported nodes are levelled by the number of fallback nodes on the longest path that
leads to them; one level is one partition. A path that leaves a partition passes a
fallback node and so reaches a higher level only: partitions are convex and their
order is acyclic, in one linear pass.
"""

import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature
from torch.fx import Graph, Node

from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import canonicalize, name_node, name_target
from mlx_coverage.registry.judge import Supported, Unsupported, Verdict, judge_node
from mlx_coverage.registry.reasons import Reason
from mlx_coverage.registry.spec import Registry
from mlx_coverage.registry.standins import is_standin

_EXCLUDED = "mlx_coverage.excluded"
# Checks that export leaves behind: true by then, and no work.
_ASSERTIONS = frozenset(
    "_assert_scalar _assert_async _assert_tensor_metadata sym_constrain_range "
    "sym_constrain_range_for_size".split()
)


@dataclass(frozen=True)
class Delegated:
    """The node runs in the partition of that number."""

    partition: int


@dataclass(frozen=True)
class Fallback:
    """The node stays with ExecuTorch; the first reason is the primary one."""

    reasons: tuple[Reason, ...]


Placement = Delegated | Fallback


class Rewrite(Protocol):
    """What to write instead of a declined call."""

    @property
    def leaves(self) -> Collection[OpOverload]:
        """Ops that it may leave to ExecuTorch."""
        ...

    def write(self, node: Node, verdict: Unsupported) -> Callable[..., Any] | None:
        """A function of the call's arguments, or None for a call that it leaves as it is."""
        ...


@dataclass(frozen=True)
class Options:
    """What a user may ask of the partitioner.

    Attributes:
        exclude_ops: names (`aten.add.Tensor`) or overloads to keep off the delegate.
        exclude_node: predicate on a call, for anything else.
        min_partition_size: least number of computing nodes (views and sizes do not
            count) in a partition; 0 also places partitions of views alone.
        rewrites: what to write instead of declined calls, tried in order.
    """

    exclude_ops: frozenset[str] = frozenset()
    exclude_node: Callable[[Node], bool] | None = None
    min_partition_size: int = 1
    rewrites: tuple[Rewrite, ...] = ()


@dataclass(frozen=True)
class PartitionPlan:
    """Placements of all nodes that are work, and the partitions in order of execution.

    Attributes:
        placements: for every counted call of the graph, in graph order.
        partitions: members of each partition, in graph order; includes `getitem` nodes,
            which are not counted.
        verdicts: what the registry said, before placement.
        graph: that the nodes are of.
        constants: its placeholders that nothing writes and no caller passes.
        signature: what its placeholders and outputs are; None for a graph without a program.
        options: that the plan was made with.
        shared: buffers (by name) that several methods of the program use, and one writes.
        left: those of them that no delegate is to own.
    """

    placements: Mapping[Node, Placement]
    partitions: Sequence[Sequence[Node]]
    verdicts: Mapping[Node, Verdict]
    graph: Graph = field(default_factory=Graph)
    constants: frozenset[Node] = frozenset()
    signature: ExportGraphSignature | None = None
    options: Options = Options()
    shared: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()

    @property
    def delegated(self) -> int:
        """How many counted nodes are placed in a partition."""
        return sum(isinstance(p, Delegated) for p in self.placements.values())

    def copy(self) -> "PartitionPlan":
        """The same plan of a copy of the graph: lowering takes the graph apart."""
        graph, copies = Graph(), dict[Node, Node]()
        graph.output(graph.graph_copy(self.graph, copies))
        return replace(
            self,
            placements={copies[node]: p for node, p in self.placements.items()},
            partitions=[[copies[node] for node in members] for members in self.partitions],
            verdicts={copies[node]: v for node, v in self.verdicts.items()},
            graph=graph,
            constants=frozenset(copies[node] for node in self.constants),
            signature=deepcopy(self.signature),
        )

    def suppose(self, verdicts: Mapping[Node, Verdict]) -> "PartitionPlan":
        """The plan that the planner would make if the verdicts were these."""
        levels = _assign_levels(self.graph, verdicts, self.constants)
        pinned = self._find_pinned()
        placements, partitions = _place(self.graph, verdicts, levels, self.options, pinned)
        return replace(self, placements=placements, partitions=partitions, verdicts=verdicts)

    def judge_again(self, registry: Registry) -> "PartitionPlan":
        """The plan of the graph as it is now, by what its metadata has become."""
        nodes = self.placements
        return self.suppose({n: _judge(n, registry, self.constants, self.options) for n in nodes})

    def _find_pinned(self) -> frozenset[Node]:
        """What reads and writes buffers that the delegate has to own: placed however small."""
        buffers = self.shared - self.left
        if self.signature is None or not buffers:
            return frozenset()
        nodes = {node.name: node for node in self.graph.nodes}
        held = (n for n, b in self.signature.inputs_to_buffers.items() if b in buffers)
        written = (n for n, b in self.signature.buffers_to_mutate.items() if b in buffers)
        readers = {user for name in held for user in nodes[name].users}
        return frozenset({*readers, *(nodes[name] for name in written)})


def plan(
    program: ExportedProgram,
    registry: Registry,
    options: Options,
    shared: frozenset[str] = frozenset(),
    left: frozenset[str] = frozenset(),
) -> PartitionPlan:
    """Judge and place every node of an edge program; reads metadata only, mutates nothing.

    `shared` and `left` are buffers that other methods use as well: see `PartitionPlan`.
    """
    constants = find_constants(program, shared)
    graph = program.graph_module.graph
    ignored = find_ignored(graph)
    verdicts: dict[Node, Verdict] = {}
    for node in graph.nodes:
        if is_counted(node) and node not in ignored:
            verdicts[node] = _judge(node, registry, constants, options)
    signature = program.graph_signature
    unplaced = PartitionPlan({}, [], {}, graph, constants, signature, options, shared, left)
    return unplaced.suppose(verdicts)


def find_constants(
    program: ExportedProgram, shared: Collection[str] = frozenset()
) -> frozenset[Node]:
    """Placeholders that are parameters, lifted constants, or buffers that nothing mutates.

    Of the buffers in `shared`, another method mutates some.
    """
    signature = program.graph_signature
    mutated = {*signature.buffers_to_mutate.values(), *shared}
    fixed = {**signature.inputs_to_parameters, **signature.inputs_to_lifted_tensor_constants}
    buffers = {n: b for n, b in signature.inputs_to_buffers.items() if b not in mutated}
    names = {**fixed, **buffers}
    return frozenset(
        n for n in program.graph_module.graph.nodes if n.op == "placeholder" and n.name in names
    )


def find_owned_buffers(plan: PartitionPlan) -> dict[Node, int]:
    """The placeholders of mutated buffers that one partition alone reads and writes.

    Among them are those that this method reads and another one writes. The delegate keeps them
    between calls, old value and new. ExecuTorch's own `tag_mutated_buffer` also takes buffers
    that are read elsewhere, whose readers then see a stale copy. Other buffers stay with
    ExecuTorch, as an input and an output of the delegate.
    """
    if plan.signature is None:
        return {}
    numbers = {node: n for n, members in enumerate(plan.partitions) for node in members}
    nodes = {node.name: node for node in plan.graph.nodes}
    output = plan.graph.output_node()
    results = list(output.args[0])  # type: ignore[arg-type]
    writers: dict[str, list[Node]] = {}
    for name, buffer in plan.signature.buffers_to_mutate.items():
        writers.setdefault(buffer, []).append(nodes[name])
    owned: dict[Node, int] = {}
    for name, buffer in plan.signature.inputs_to_buffers.items():
        placeholder = nodes[name]
        written = writers.get(buffer, [])
        if buffer in plan.left or not (written or buffer in plan.shared):
            continue
        if not placeholder.users or output in placeholder.users:
            continue
        if len(written) > 1 or any(results.count(writer) != 1 for writer in written):
            continue
        users = [user for node in (placeholder, *written) for user in node.users]
        found = {numbers.get(node) for node in (*written, *users) if node is not output}
        number = found.pop() if len(found) == 1 else None
        if number is not None:
            owned[placeholder] = number
    return owned


def find_ignored(graph: Graph) -> frozenset[Node]:
    """Checks that export leaves behind, and what is computed for them alone: no work."""
    ignored: set[Node] = set()
    for node in reversed(graph.nodes):
        if node.op != "call_function":
            continue
        if is_assertion(node) or (
            node.users and not _is_tensor(node) and all(user in ignored for user in node.users)
        ):
            ignored.add(node)
    return frozenset(ignored)


def is_assertion(node: Node) -> bool:
    """Whether the node only checks what export has already guarded."""
    schema = getattr(canonicalize(node.target), "_schema", None)
    return schema is not None and schema.name.partition("::")[2] in _ASSERTIONS


def is_counted(node: Node) -> bool:
    """Whether the node is work: a call other than taking one of several results."""
    return node.op == "call_function" and node.target is not operator.getitem


def is_excluded(node: Node, options: Options) -> bool:
    """Whether the user keeps the node off the delegate."""
    name = name_node(node)
    if name in options.exclude_ops or options.exclude_node is None:
        return name in options.exclude_ops
    kept: dict[str, bool] = node.meta.get("custom") or {}
    return kept[_EXCLUDED] if _EXCLUDED in kept else bool(options.exclude_node(node))


def ask_exclusions(graph: Graph, options: Options) -> None:
    """Ask `exclude_node` of each call, once; what the call becomes inherits the answer."""
    for node in graph.nodes if options.exclude_node is not None else ():
        if is_counted(node):
            answer = {_EXCLUDED: is_excluded(node, options)}
            # torch copies this key to what a call is decomposed into.
            node.meta["custom"] = {**(node.meta.get("custom") or {}), **answer}


def _is_tensor(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, (torch.Tensor, list, tuple))


def _judge(
    node: Node, registry: Registry, constants: Collection[Node], options: Options
) -> Verdict:
    if getattr(node.target, "__name__", "") == "executorch_call_delegate":
        text = "another partitioner, earlier in the list, delegated the node"
        return Unsupported((Reason(reasons.OTHER_DELEGATE, text),))
    if is_excluded(node, options):
        name = name_node(node)
        how = "is in exclude_ops" if name in options.exclude_ops else "was excluded by exclude_node"
        return Unsupported((Reason(reasons.EXCLUDED, f"{name} {how}"),))
    return judge_node(node, registry, constants)


def _assign_levels(
    graph: Graph, verdicts: Mapping[Node, Verdict], constants: Collection[Node]
) -> dict[Node, int]:
    levels: dict[Node, int] = {}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        supported = _is_supported(node, verdicts)
        levels[node] = max(
            (
                levels[source] + (supported and not _is_supported(source, verdicts))
                for source in node.all_input_nodes
                if source in levels
            ),
            default=0,
        )
    _sink_sources(graph, verdicts, constants, levels)
    return levels


def _sink_sources(
    graph: Graph,
    verdicts: Mapping[Node, Verdict],
    constants: Collection[Node],
    levels: dict[Node, int],
) -> None:
    # What is made from constants alone is made where it is first read, not at level 0,
    # or it would cross every boundary on the way.
    free: dict[Node, bool] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            free[node] = _is_supported(node, verdicts) and all(
                source in constants or free.get(source, False) or source.op == "get_attr"
                for source in node.all_input_nodes
            )
    for node in reversed(graph.nodes):
        if not free.get(node, False):
            continue
        readers = [user for user in node.users if user in levels]
        if readers and all(_is_supported(user, verdicts) for user in readers):
            levels[node] = max(levels[node], min(levels[user] for user in readers))


def _is_supported(node: Node, verdicts: Mapping[Node, Verdict]) -> bool:
    if node.target is operator.getitem:
        return _is_supported(node.args[0], verdicts)  # type: ignore[arg-type]
    return isinstance(verdicts.get(node), Supported)


def _place(
    graph: Graph,
    verdicts: Mapping[Node, Verdict],
    levels: Mapping[Node, int],
    options: Options,
    pinned: frozenset[Node],
) -> tuple[dict[Node, Placement], list[list[Node]]]:
    groups: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node in levels and _is_supported(node, verdicts):
            groups.setdefault(levels[node], []).append(node)
    partitions: list[list[Node]] = []
    dropped: dict[Node, Fallback] = {}
    numbers: dict[Node, int] = {}
    for level in sorted(groups):
        members = groups[level]
        held = not pinned.isdisjoint(members)
        refusal = None if held else _refuse_small(members, verdicts, options)
        if refusal is not None:
            dropped.update(dict.fromkeys(members, Fallback((refusal,))))
            continue
        numbers.update(dict.fromkeys(members, len(partitions)))
        partitions.append(members)
    placements: dict[Node, Placement] = {}
    for node, verdict in verdicts.items():
        if isinstance(verdict, Unsupported):
            placements[node] = Fallback(verdict.reasons)
        else:
            placements[node] = dropped.get(node) or Delegated(numbers[node])
    return placements, partitions


def _refuse_small(
    members: Sequence[Node], verdicts: Mapping[Node, Verdict], options: Options
) -> Reason | None:
    specs = [v.spec for v in map(verdicts.get, members) if isinstance(v, Supported)]
    if any(spec.whole for spec in specs) or any(is_standin(node.target) for node in members):
        return None  # kept whole for us: nothing else can run it
    work = sum(not spec.view for spec in specs)
    # ExecuTorch takes no delegate that gives numbers alone.
    if work >= options.min_partition_size and any(map(_is_tensor, members)):
        return None
    culprit = _find_culprit(members, verdicts)
    beside = f", beside {culprit}" if culprit else ""
    if work == 0:
        text = f"its partition holds only views and sizes{beside}"
        remedy = "" if culprit else "Nothing is to be mended: views and sizes compute nothing."
        return Reason(reasons.NEIGHBOURS, text, culprit=culprit, advice=remedy)
    text = f"its partition holds {work} computing nodes{beside}; wanted: at least "
    return Reason(reasons.SMALL_ISLAND, text + str(options.min_partition_size), culprit=culprit)


def _find_culprit(members: Iterable[Node], verdicts: Mapping[Node, Verdict]) -> str | None:
    for node in members:
        for neighbour in (*map(_find_maker, node.all_input_nodes), *node.users):
            if isinstance(verdicts.get(neighbour), Unsupported):
                return name_node(neighbour)
    return None


def _find_maker(node: Node) -> Node:
    # The call that a `getitem` takes a result of.
    source = node.args[0] if node.target is operator.getitem else node
    return source if isinstance(source, Node) else node


def normalize_ops(ops: Iterable[str | OpOverload | Any]) -> frozenset[str]:
    """Names of ops given as overloads (ATen or edge) or as text.

    Raises:
        TypeError: an item is neither a name nor an overload.
    """
    names: set[str] = set()
    for op in ops:
        overload: Any = _find_overload(op) if isinstance(op, str) else op
        if not isinstance(overload, (OpOverload, str)) and not hasattr(overload, "_op"):
            raise TypeError(
                f"exclude_ops holds {op!r}; accepted: names such as 'aten.add.Tensor', "
                "or overloads such as torch.ops.aten.add.Tensor"
            )
        named = isinstance(overload, str)
        names.add(overload if named else name_target(canonicalize(overload)))
    return frozenset(names)


def _find_overload(name: str) -> Any:
    # `aten.view_copy.default` means the same entry as `aten.view.default`.
    found: Any = torch.ops
    for part in name.replace("::", ".").removeprefix("torch.ops.").split("."):
        found = getattr(found, part, None)
        if found is None:
            return name
    return found if isinstance(found, OpOverload) else name
