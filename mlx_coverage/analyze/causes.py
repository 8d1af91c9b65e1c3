"""Fallback nodes by cause: what one cast, constant or input keeps off the delegate is one finding.

A dtype that ops refuse enters a program somewhere and is handed on; every node that is refused
for it alone falls back for the same cause. A view without work beside it falls back because of
its neighbour.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from mlx_coverage.analyze.hierarchy import INDEX_IN_PATH
from mlx_coverage.analyze.model import Source
from mlx_coverage.analyze.schedule import find_maker
from mlx_coverage.lowering.plan import Fallback, PartitionPlan
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import Call, name_node
from mlx_coverage.registry.dtypes import MLX_NAMES, name_dtype
from mlx_coverage.registry.reasons import Reason

# Dtypes that ops refuse as such, rather than for what the op is.
_EVERYWHERE = frozenset({torch.float64})


@dataclass(frozen=True)
class Cause:
    """Why nodes fall back.

    Attributes:
        op: of the first node that falls back for it.
        reason: that node's, or one sentence for all of them.
        source: where it enters the program.
        dtype: its name, where one dtype is refused all the way.
    """

    op: str
    reason: Reason
    source: Source
    dtype: str = ""

    def covers(self, reason: Reason) -> bool:
        """Whether a reason of one of the nodes is this cause once more."""
        same = bool(self.dtype) and reason.kind in (reasons.DTYPE, reasons.MIXED_DTYPE)
        return reason == self.reason or (same and f" is {self.dtype}" in reason.text)


def find_causes(plan: PartitionPlan, locate: Callable[[Node], Source]) -> dict[Node, Cause]:
    """The cause of every fallback node.

    Args:
        plan: with its graph intact.
        locate: gives a node's line.
    """
    first = {n: p.reasons[0] for n, p in plan.placements.items() if isinstance(p, Fallback)}
    causes = {node: Cause(name_node(node), why, locate(node)) for node, why in first.items()}
    refused: dict[torch.dtype, list[Node]] = {}
    for node, reason in first.items():
        dtype = _find_dtype(node, reason)
        if dtype is not None:
            refused.setdefault(dtype, []).append(node)
    for dtype, nodes in refused.items():
        roots = _join(plan, dtype)
        members, entries = dict[Node, list[Node]](), dict[Node, list[Node]]()
        for node in nodes:
            members.setdefault(_find_root(roots, node), []).append(node)
        for node in plan.graph.nodes:
            if _has(node, dtype) and not any(_has(s, dtype) for s in node.all_input_nodes):
                entries.setdefault(_find_root(roots, node), []).append(node)
        for root, group in members.items():
            if len(group) > 1:
                places = list(_list_places(plan, entries.get(root, ()), group, locate))
                cause = _describe(name_dtype(dtype), causes[group[0]], places)
                causes.update(dict.fromkeys(group, cause))
    for node, reason in first.items():
        if reason.kind is reasons.NEIGHBOURS:
            culprit = _find_culprit(node, first)
            causes[node] = causes[culprit] if culprit is not None else causes[node]
    return causes


def _find_dtype(node: Node, reason: Reason) -> torch.dtype | None:
    """The dtype that the reason is about, where nearly every op refuses it."""
    call = Call.from_node(node) if reason.kind is reasons.DTYPE else None
    if call is None:
        return None
    values = call.results if reason.argument is None else call.tensors(reason.argument)
    found = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    named = (dtype for dtype in found if f" is {name_dtype(dtype)};" in reason.text)
    dtype = next(named, None)
    if dtype is None:
        return None
    foreign = dtype in _EVERYWHERE or dtype.is_complex or dtype not in MLX_NAMES
    return dtype if foreign else None


def _join(plan: PartitionPlan, dtype: torch.dtype) -> dict[Node, Node]:
    """Disjoint sets of nodes that hand tensors of the dtype on to each other."""
    parents: dict[Node, Node] = {}
    for node in plan.graph.nodes:
        parents.setdefault(node, node)
        for source in node.all_input_nodes:
            if node.op != "output" and _has(source, dtype):
                first, second = _find_root(parents, source), _find_root(parents, node)
                parents[second] = first
    return parents


def _find_root(parents: dict[Node, Node], node: Node) -> Node:
    while parents[node] is not node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


def _has(node: Node, dtype: torch.dtype) -> bool:
    leaves = tree_leaves(node.meta.get("val"))
    return any(isinstance(leaf, torch.Tensor) and leaf.dtype == dtype for leaf in leaves)


def _describe(name: str, head: Cause, places: Sequence[tuple[Source, str]]) -> Cause:
    """The cause of all nodes that a dtype reaches: the first one's, and where the dtype enters."""
    (source, what), *others = places or [(head.source, "")]
    further = sorted({s.line for s, _ in others if s.line is not None} - {source.line})
    since = f"line {source.line}" if source.line is not None else head.op
    if further:
        since += f" (and {', '.join(map(str, further[:4]))}{', …' if len(further) > 4 else ''})"
    accepted = head.reason.text.partition("; ")[2]
    text = f"{name} since {since}{f', {what}' if what else ''}; {accepted}"
    reason = replace(head.reason, text=text, argument=None, advice=_advise(what, name))
    return Cause(head.op, reason, source, name)


def _list_places(
    plan: PartitionPlan,
    entries: Iterable[Node],
    group: list[Node],
    locate: Callable[[Node], Source],
) -> Iterator[tuple[Source, str]]:
    """Where the dtype enters, and by what."""
    members = frozenset(group)
    # A number takes the dtype of what it is computed with: it is no cause beside a tensor.
    entries = list(entries)
    entries = [entry for entry in entries if not _is_number(plan, entry)] or entries
    for entry in entries:
        if entry.op == "call_function":
            tensors = any(_is_tensor(source) for source in entry.all_input_nodes)
            cast = name_node(entry) == "aten._to_copy.default"
            made = f"made by {name_node(entry)}"
            yield locate(entry), "a cast" if cast else made if tensors else "a constant"
            continue
        reader = next((user for user in entry.users if user in members), group[0])
        yield locate(reader), _describe_placeholder(plan, entry)


def _describe_placeholder(plan: PartitionPlan, node: Node) -> str:
    signature = plan.signature
    if signature is None:
        return f"the input `{node.name}`"
    for kind, names in (
        ("parameter", signature.inputs_to_parameters),
        ("buffer", signature.inputs_to_buffers),
    ):
        if node.name in names:  # identical layers have one cause
            return f"the {kind} `{INDEX_IN_PATH.sub('*', names[node.name])}`"
    if node.name in signature.inputs_to_lifted_tensor_constants:
        return "a constant"
    return f"the input `{node.name}`"


def _is_number(plan: PartitionPlan, node: Node) -> bool:
    value = node.meta.get("val")
    made = all(source in plan.constants for source in node.all_input_nodes)
    fixed = node in plan.constants or (node.op == "call_function" and made)
    return fixed and isinstance(value, torch.Tensor) and not value.dim()


def _is_tensor(node: Node) -> bool:
    return any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(node.meta.get("val")))


def _advise(what: str, name: str) -> str:
    if name.startswith("complex"):
        return (
            "Compute with the real and the imaginary part as two real tensors "
            "(torch.view_as_real): a cast drops the imaginary part."
        )
    if what == "a cast":
        return f"Leave the cast to {name} out, or cast to float32 instead."
    if what == "a constant":
        return "Make the constant with dtype=torch.float32."
    if what.startswith("the input"):
        return "Give the input as float32."
    if what.startswith("the "):
        return "Keep it as float32: model.float() converts parameters and buffers."
    return "Compute in float32 from there on."


def _find_culprit(node: Node, first: Mapping[Node, Reason]) -> Node | None:
    """The nearest node that falls back on its own account, what is read before what reads."""
    seen, waiting = {node}, [node]
    for near in waiting:
        for other in (*map(find_maker, near.all_input_nodes), *_list_readers(near)):
            if other in seen or other not in first:
                continue
            if first[other].kind is not reasons.NEIGHBOURS:
                return other
            seen.add(other)
            waiting.append(other)
    return None


def _list_readers(node: Node) -> Iterator[Node]:
    for user in node.users:
        if find_maker(user) is node and user is not node:
            yield from user.users  # a getitem
        else:
            yield user
