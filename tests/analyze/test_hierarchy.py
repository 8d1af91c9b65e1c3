"""The module tree: alike layers share a row, others do not, and nothing is counted twice."""

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage.analyze.hierarchy import build_tree, list_modules
from mlx_coverage.analyze.model import NONE, Figures, Module
from mlx_coverage.lowering.plan import Delegated
from tests.analyze.planning import make_plan


class Layer(nn.Module):
    def __init__(self, wide: bool = False) -> None:
        super().__init__()
        self.inner = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.wide = wide

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.inner:
            x = linear(x)
        return x.exp() if self.wide else x


class Stack(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x).exp()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


def tree(module: nn.Module) -> tuple[dict[str, Module], list[Module], list[tuple[str, str]]]:
    exclude = [torch.ops.aten.exp.default]
    plan = make_plan(
        module, torch.ones(1, 4), exclude=exclude, whole=[torch.ops.aten.linear.default]
    )
    rows, places, numbers = build_tree(
        (node, Figures(1, 10), isinstance(p, Delegated)) for node, p in plan.placements.items()
    )
    assert rows[0].total.nodes == len(plan.placements)
    assert rows[0].mlx.nodes == plan.delegated
    assert [place.path for place in places] == list(numbers)
    return {r.path: r for r in rows}, list(rows), [(p.path, rows[p.module].path) for p in places]


def test_alike_layers_share_a_row() -> None:
    rows, order, places = tree(Stack([Layer() for _ in range(12)]))
    assert [row.path for row in order] == ["", "layers.*", "layers.*.inner.*", "head"]
    assert [row.parent for row in order] == [NONE, 0, 1, 0]
    layers = rows["layers.*"]
    assert layers.kind.endswith("test_hierarchy.Layer")
    assert (layers.instances, rows["layers.*.inner.*"].instances) == (12, 24)
    assert layers.total == layers.mlx == Figures(24, 240)
    assert rows[""].total == Figures(26, 260)
    assert rows[""].mlx == Figures(25, 250)
    assert ("layers.11.inner.1", "layers.*.inner.*") in places


def test_a_layer_that_falls_back_has_its_own_row() -> None:
    rows, _, places = tree(Stack([Layer(wide=i == 2) for i in range(5)]))
    assert rows["layers.0-1,3-4"].instances == 4
    assert rows["layers.2"].mlx.nodes == rows["layers.2"].total.nodes - 1
    assert ("layers.3.inner.0", "layers.0-1,3-4.inner.*") in places
    assert sum(row.total.nodes for row in rows.values() if row.parent == 0) == 12


def test_a_module_called_twice_is_one_module() -> None:
    rows, _, _ = tree(Twice())
    assert list(rows) == ["", "layer", "layer.inner.*"]
    assert rows["layer"].instances == 1
    assert rows["layer"].total.nodes == 4


@pytest.mark.parametrize("strict", [False, True])
def test_strict_export_names_modules_alike(strict: bool) -> None:
    program = torch.export.export(Stack([Layer(), Layer()]), (torch.ones(1, 4),), strict=strict)
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    rows, _, _ = build_tree((node, Figures(1), True) for node in nodes)
    assert [row.path for row in rows] == ["", "layers.*", "layers.*.inner.*", "head"]


def test_nodes_of_no_module_lie_in_the_model() -> None:
    node = torch.fx.Graph().placeholder("x")
    made = "_empty_nn_module_stack_from_metadata_hook"  # what torch's passes write
    node.meta["nn_module_stack"] = {made: (made, made)}
    assert list_modules(node) == []
    node.meta["nn_module_stack"] = {"L__self__": ("", "_mlx_coverage_model_net.Net")}
    assert list_modules(node) == [("", "net.Net")]
