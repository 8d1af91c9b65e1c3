"""Drawings, treemaps and views: what goes where, and that nothing is lost."""

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_coverage.analyze.model import MethodReport, Place
from mlx_coverage.report.layout import Box, draw_layers, squarify
from mlx_coverage.report.treemap import make_treemaps
from mlx_coverage.report.views import LIMIT, make_views, order_nodes
from tests.report.samples import make_report


@st.composite
def make_graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    boxes = draw(st.integers(1, 14))
    pairs = st.tuples(st.integers(0, boxes - 1), st.integers(0, boxes - 1))
    edges = draw(st.lists(pairs.filter(lambda pair: pair[0] < pair[1]), unique=True, max_size=30))
    return boxes, edges


@given(make_graphs())
def test_edges_lead_down_and_boxes_keep_apart(graph: tuple[int, list[tuple[int, int]]]) -> None:
    boxes, edges = graph
    drawing = draw_layers(boxes, edges)
    for (tail, head), bends in zip(edges, drawing.bends, strict=True):
        assert drawing.layer[tail] < drawing.layer[head]
        assert len(bends) == drawing.layer[head] - drawing.layer[tail] - 1
    for layer in set(drawing.layer):
        row = sorted(x for x, at in zip(drawing.x, drawing.layer, strict=True) if at == layer)
        # Positions are rounded to hundredths.
        assert all(right - left >= 0.98 for left, right in pairwise(row))
    assert min(drawing.x) >= 0


def test_a_chain_is_drawn_as_a_straight_line() -> None:
    drawing = draw_layers(4, [(0, 1), (1, 2), (2, 3)])
    assert drawing.layer == (0, 1, 2, 3)
    assert len(set(drawing.x)) == 1


def test_an_edge_passes_beside_the_boxes_that_it_skips() -> None:
    drawing = draw_layers(3, [(0, 1), (1, 2), (0, 2)])
    ((bend,),) = (bends for bends in drawing.bends if bends)
    assert abs(bend - drawing.x[1]) >= 0.5


def test_an_edge_against_the_order_is_refused() -> None:
    with pytest.raises(ValueError, match="edge 1 -> 0 of 2 boxes"):
        draw_layers(2, [(1, 0)])


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any),
    st.integers(10, 1000),
    st.integers(10, 1000),
)
def test_treemap_fills_its_room_in_proportion(values: list[int], width: int, height: int) -> None:
    room = Box(5, 7, width, height)
    boxes = squarify(values, room)
    for value, box in zip(values, boxes, strict=True):
        area = room.width * room.height * value / sum(values)
        assert math.isclose(box.width * box.height, area, rel_tol=1e-6, abs_tol=1e-6)
        assert box.x >= 5 - 1e-6
        assert box.y >= 7 - 1e-6
        assert box.x + box.width <= 5 + width + 1e-6
        assert box.y + box.height <= 7 + height + 1e-6
    for a, b in combinations((box for box in boxes if box.width * box.height), 2):
        across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
        down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
        assert across <= 1e-6 or down <= 1e-6


def test_treemap_prefers_squares() -> None:
    for box in squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 600, 400)):
        assert 1 / 3 < box.width / box.height < 3


def test_treemap_counts_every_node_once() -> None:
    (method,) = make_report().methods
    maps = make_treemaps(method)
    assert set(maps) == {"FLOPs", "bytes", "nodes"}
    # The sample's only layers hold all the work of the model.
    (cell,) = maps["nodes"]
    assert (cell.width, cell.height) == (100, 100)
    assert cell.title == "layers.*.plain \N{MULTIPLICATION SIGN}2: 99 nodes, 100 %, 75.8 % on MLX"


def make_method(paths: list[str]) -> MethodReport:
    """The sample's 99 nodes, spread over these modules in turn."""
    from dataclasses import replace

    (method,) = make_report().methods
    graph = replace(
        method.graph, place=tuple(min(i * len(paths) // 99, len(paths) - 1) for i in range(99))
    )
    return replace(method, places=tuple(Place(path, 1) for path in paths), graph=graph)


@pytest.mark.parametrize(
    "paths",
    [
        [""],
        [f"layers.{i}.mlp" for i in range(99)],
        [f"layers.{i // 3}.part{i % 3}" for i in range(99)],
        [".".join(["deep"] * 60), "deep", "deep.er"],
        [f"m{i % 2}" for i in range(99)],
    ],
    ids=["no modules", "many layers", "layers of parts", "deep", "modules called in turn"],
)
def test_views_hold_every_node_once_and_few_boxes(paths: list[str]) -> None:
    method = make_method(paths)
    views, order = make_views(method), order_nodes(method)
    shown = [order[-1 - child] for view in views for child in view.children if child < 0]
    assert sorted(shown) == list(range(99))
    opened = [child for view in views for child in view.children if child >= 0]
    assert sorted(opened) == list(range(1, len(views)))
    for index, view in enumerate(views):
        assert 1 < len(view.children) <= LIMIT
        assert view.parent < index
        assert len(view.drawing.x) == len(view.children)
        assert all(tail < head for tail, head in view.edges)
    # The chain of the sample goes from one segment to the other.
    assert [views[child].label for child in views[0].children] == ["MLX 1", "CPU 1"]
    assert views[0].edges == ((0, 1),)


def test_one_segment_is_the_first_view() -> None:
    from dataclasses import replace

    (method,) = make_report().methods
    graph = replace(method.graph, segment=(0,) * 99)
    method = replace(method, graph=graph, segments=method.segments[:1])
    assert make_views(method)[0].label == "MLX 1"
