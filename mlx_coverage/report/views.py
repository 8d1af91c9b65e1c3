"""The graph of a method as views that open one at a time: segments, modules, nodes.

A view shows at most `LIMIT` boxes, each a node or a view of its own. Nodes are grouped by
runs: neighbours in the order of the program that lie beneath the same module. Runs of a
topological order never depend on one another in a circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from mlx_coverage.analyze.model import NONE, MethodReport
from mlx_coverage.report.layout import Drawing, draw_layers

LIMIT = 40
# So few nodes are shown at once, whatever their modules.
_FEW = 24

Edge = tuple[int, int]


@dataclass(frozen=True)
class View:
    """A box of another view, opened.

    Attributes:
        parent: index of the view that it is opened from; -1 for the first one.
        label: module path below that of the parent, or name of a segment.
        start, end: its nodes, as a range of positions in the order of `order_nodes`.
        children: what its boxes are: index of a view, or `-1 - position` of a node.
        drawing: where the boxes and the edges are.
        edges: between boxes.
    """

    parent: int
    label: str
    start: int
    end: int
    children: tuple[int, ...]
    drawing: Drawing
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class _Group:
    """Nodes that become one box: a single node, or a view of its own.

    Attributes:
        label: as in `View`.
        start, end: as in `View`.
        depth: how many components of the nodes' paths the group has consumed.
        parts: its boxes, where modules do not decide them.
    """

    label: str
    start: int
    end: int
    depth: int
    parts: tuple["_Group", ...] = ()


def order_nodes(method: MethodReport) -> list[int]:
    """The nodes segment by segment, in the order of the program within each."""
    segments = method.graph.segment
    return sorted(range(len(segments)), key=segments.__getitem__)


def name_segments(method: MethodReport) -> list[str]:
    """`MLX 1`, `CPU 1`, `MLX 2`: partitions and stretches of fallback, each numbered from 1."""
    names, islands = [], 0
    for segment in method.segments:
        if segment.partition is None:
            islands += 1
            names.append(f"CPU {islands}")
        else:
            names.append(f"MLX {segment.partition + 1}")
    return names


def make_views(method: MethodReport) -> list[View]:
    """All views, a parent before its children; the first one shows the segments."""
    order, graph = order_nodes(method), method.graph
    if not order:
        return []
    position = {node: i for i, node in enumerate(order)}
    edges = [
        (position[tail], position[head])
        for tail, head in zip(graph.edges_from, graph.edges_to, strict=True)
    ]
    paths = [tuple(place.path.split(".")) if place.path else () for place in method.places]
    path_of = [paths[graph.place[node]] for node in order]
    names = name_segments(method)
    # The list grows while it is walked; a view's index is its place in it.
    pending = [(_group_segments(order, graph.segment, names), NONE, edges)]
    views = []
    for index, (group, parent, inner) in enumerate(pending):
        groups = _limit(group.parts or _split(group, path_of))
        box_of = {i: box for box, part in enumerate(groups) for i in range(part.start, part.end)}
        below: list[list[Edge]] = [[] for _ in groups]
        between: set[Edge] = set()
        for tail, head in inner:
            if box_of[tail] == box_of[head]:
                below[box_of[tail]].append((tail, head))
            elif box_of[tail] < box_of[head]:
                between.add((box_of[tail], box_of[head]))
        children = []
        for part, part_edges in zip(groups, below, strict=True):
            if part.end - part.start == 1:
                children.append(-1 - part.start)
            else:
                children.append(len(pending))
                pending.append((part, index, part_edges))
        drawn = tuple(sorted(between))
        drawing = draw_layers(len(groups), drawn)
        views.append(
            View(parent, group.label, group.start, group.end, tuple(children), drawing, drawn)
        )
    return views


def _group_segments(order: Sequence[int], segments: Sequence[int], names: Sequence[str]) -> _Group:
    """The whole program; a single segment is the program itself."""
    runs = groupby(range(len(order)), lambda i: segments[order[i]])
    groups = []
    for segment, members in runs:
        run = list(members)
        groups.append(_Group(names[segment], run[0], run[-1] + 1, 0))
    return groups[0] if len(groups) == 1 else _Group("", 0, len(order), 0, tuple(groups))


def _split(group: _Group, paths: Sequence[tuple[str, ...]]) -> tuple[_Group, ...]:
    """The parts of a group: all nodes of a small one, else runs beneath the same module."""
    everything = range(group.start, group.end)
    if len(everything) <= _FEW:
        return tuple(_Group("", i, i + 1, group.depth) for i in everything)
    depth, path = group.depth, paths[group.start]
    while len(path) > depth and all(paths[i][: depth + 1] == path[: depth + 1] for i in everything):
        depth += 1
    parts = []
    for name, members in groupby(everything, lambda i: paths[i][depth : depth + 1]):
        run = list(members)
        if name:
            label = ".".join((*path[group.depth : depth], *name))
            parts.append(_Group(label, run[0], run[-1] + 1, depth + 1))
        else:
            parts += [_Group("", i, i + 1, depth) for i in run]
    return tuple(parts)


def _limit(parts: tuple[_Group, ...]) -> tuple[_Group, ...]:
    """The parts themselves, or where they are too many, neighbours taken together."""
    if len(parts) <= LIMIT:
        return parts
    boxes = min(LIMIT, -(-len(parts) // LIMIT))
    size = -(-len(parts) // boxes)
    chunks = [parts[i : i + size] for i in range(0, len(parts), size)]
    return tuple(
        _Group(
            f"{_name_end(chunk[0])} to {_name_end(chunk[-1])}",
            chunk[0].start, chunk[-1].end, chunk[0].depth, chunk,
        )
        for chunk in chunks
    )  # fmt: skip


def _name_end(part: _Group) -> str:
    return part.label or f"node {part.start + 1}"
