"""Where things go on a page: a layered drawing of a graph, and a squarified treemap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

_SWEEPS = 4
# Room that a bend takes beside boxes, which take 1.
_BEND = 0.2


@dataclass(frozen=True)
class Drawing:
    """Boxes of a graph in layers, every edge leading down.

    Attributes:
        x: centre of each box; boxes of a layer are at least 1 apart, and the least is 0.
        layer: of each box, from 0.
        bends: for each edge, the x at which it passes the layers between its ends.
    """

    x: tuple[float, ...]
    layer: tuple[int, ...]
    bends: tuple[tuple[float, ...], ...]


def draw_layers(boxes: int, edges: Sequence[tuple[int, int]]) -> Drawing:
    """Lay out an acyclic graph whose boxes are numbered in a topological order.

    The framework is that of K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual
    Understanding of Hierarchical System Structures" (1981): layers by longest path, an
    order within layers by the barycenter of neighbours, then positions. Edges that leave
    one box share their bends.

    Raises:
        ValueError: an edge does not lead from a lower number to a higher one.
    """
    layer = [0] * boxes
    for tail, head in sorted(edges):
        if not 0 <= tail < head < boxes:
            raise ValueError(f"edge {tail} -> {head} of {boxes} boxes is out of order")
        layer[head] = max(layer[head], layer[tail] + 1)
    layers: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for box in range(boxes):
        layers[layer[box]].append(box)
    # A vertex is a box, or a bend of the edges that leave one box.
    bends: dict[tuple[int, int], int] = {}
    above: list[list[int]] = [[] for _ in range(boxes)]
    for tail, head in edges:
        last = tail
        for level in range(layer[tail] + 1, layer[head]):
            if (tail, level) not in bends:
                bends[tail, level] = len(above)
                layers[level].append(len(above))
                above.append([last])
            last = bends[tail, level]
        above[head].append(last)
    below: list[list[int]] = [[] for _ in above]
    for vertex, parents in enumerate(above):
        for parent in parents:
            below[parent].append(vertex)
    _order(layers, above, below)
    x = _place(layers, above, below, boxes)
    routes = (
        tuple(x[bends[tail, level]] for level in range(layer[tail] + 1, layer[head]))
        for tail, head in edges
    )
    return Drawing(tuple(x[:boxes]), tuple(layer), tuple(routes))


def _order(layers: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    """Sort each layer by the mean place of the neighbours in the layer before."""
    place = {vertex: float(i) for layer in layers for i, vertex in enumerate(layer)}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for layer in layers if down else reversed(layers):
            means = {
                v: fmean(place[n] for n in neighbours[v]) if neighbours[v] else place[v]
                for v in layer
            }
            layer.sort(key=means.__getitem__)
            place.update((vertex, float(i)) for i, vertex in enumerate(layer))


def _place(
    layers: Sequence[Sequence[int]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    boxes: int,
) -> list[float]:
    """Move every vertex as near to its neighbours as the order and the spacing allow."""
    x = [0.0] * len(above)
    for layer in layers:
        for i, vertex in enumerate(layer):
            x[vertex] = float(i)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for layer in layers if down else reversed(layers):
            gaps = [0.0]
            for left, right in pairwise(layer):
                both = (left < boxes) + (right < boxes)
                gaps.append((_BEND, (1 + _BEND) / 2, 1.0)[both])
            wanted = [fmean(x[n] for n in neighbours[v]) if neighbours[v] else x[v] for v in layer]
            for vertex, value in zip(layer, _space(wanted, gaps), strict=True):
                x[vertex] = value
    least = min(x, default=0.0)
    return [round(value - least, 2) for value in x]


def _space(wanted: Sequence[float], gaps: Sequence[float]) -> Iterable[float]:
    """The increasing positions nearest to the wanted ones, by pooling adjacent violators."""
    offset, blocks = 0.0, list[tuple[float, int, list[float]]]()
    for value, gap in zip(wanted, gaps, strict=True):
        offset += gap
        total, count, offsets = value - offset, 1, [offset]
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count, offsets = total + before[0], count + before[1], before[2] + offsets
        blocks.append((total, count, offsets))
    for total, count, offsets in blocks:
        yield from (total / count + offset for offset in offsets)


@dataclass(frozen=True)
class Box:
    """A rectangle, `x` to the right and `y` down."""

    x: float
    y: float
    width: float
    height: float


def squarify(values: Sequence[float], room: Box) -> list[Box]:
    """Divide a room into rectangles with areas in proportion to the values.

    After M. Bruls, K. Huizing and J. van Wijk, "Squarified Treemaps" (2000): rows are
    filled along the shorter side for as long as that makes their rectangles squarer.

    Args:
        values: not negative, and not all zero.
        room: to be filled.

    Returns:
        One rectangle for each value, in their order.
    """
    scale = room.width * room.height / sum(values)
    ranked = sorted(range(len(values)), key=lambda i: -values[i])
    boxes: dict[int, Box] = {}
    while ranked:
        side = min(room.width, room.height)
        taken, area = 1, values[ranked[0]] * scale
        while taken < len(ranked):
            more = area + values[ranked[taken]] * scale
            ends = values[ranked[0]] * scale, values[ranked[taken - 1]] * scale
            next_ends = ends[0], values[ranked[taken]] * scale
            if _squareness(more, next_ends, side) < _squareness(area, ends, side):
                break
            taken, area = taken + 1, more
        row, ranked = ranked[:taken], ranked[taken:]
        depth = area / side if side else 0.0
        start = 0.0
        for i in row:
            length = values[i] * scale / depth if depth else 0.0
            if room.width >= room.height:
                boxes[i] = Box(room.x, room.y + start, depth, length)
            else:
                boxes[i] = Box(room.x + start, room.y, length, depth)
            start += length
        if room.width >= room.height:
            room = Box(room.x + depth, room.y, max(room.width - depth, 0.0), room.height)
        else:
            room = Box(room.x, room.y + depth, room.width, max(room.height - depth, 0.0))
    return [boxes[i] for i in range(len(values))]


def _squareness(area: float, ends: tuple[float, float], side: float) -> float:
    """How square the flattest rectangle of a row is; 1 is a square."""
    if not area or not side:
        return 0.0
    depth = area / side
    return min(
        min(depth, length) / max(depth, length) if length else 0.0
        for length in (end / depth for end in ends)
    )
