"""The partition plan: convex, acyclic, deterministic, and every node accounted for."""

import operator

import networkx as nx
import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from torch.export import ExportedProgram

from mlx_coverage.lowering.plan import Delegated, Fallback, Options, PartitionPlan, normalize_ops
from mlx_coverage.lowering.plan import plan as make_plan
from mlx_coverage.registry import reasons
from tests.lowering.graphs import Step, build
from tests.lowering.registries import make_registry

REGISTRY = make_registry()


@st.composite
def programs(draw: st.DrawFn) -> ExportedProgram:
    """Random DAGs of supported and unsupported ops, views and ops with two results."""
    steps = []
    for index in range(draw(st.integers(1, 30), label="number of ops")):
        kind = draw(st.sampled_from(["add", "mul", "view", "split", "full"]), label="kind")
        source = st.integers(0, index)
        # Near inputs make deep graphs, far ones make the paths around a fallback.
        near = st.integers(max(0, index - 2), index)
        inputs = draw(st.tuples(near, source), label="inputs")
        steps.append(Step(kind, inputs))
    return build(steps)


def contract(program: ExportedProgram, plan: PartitionPlan) -> nx.DiGraph:
    """The graph with each partition as one node."""
    group = {node: ("partition", i) for i, p in enumerate(plan.partitions) for node in p}
    quotient = nx.DiGraph()
    for node in program.graph.nodes:
        for user in node.users:
            source, target = group.get(node, node), group.get(user, user)
            if source != target:
                quotient.add_edge(source, target)
    return quotient


@given(programs(), st.integers(0, 3))
def test_partitions_are_convex_and_in_order_of_execution(
    program: ExportedProgram, minimum: int
) -> None:
    plan = make_plan(program, REGISTRY, Options(min_partition_size=minimum))
    event(f"{min(len(plan.partitions), 4)} partitions")
    # A path that leaves a partition and returns is a cycle of the contracted graph.
    quotient = contract(program, plan)
    assert nx.is_directed_acyclic_graph(quotient)
    number = {node: i for i, members in enumerate(plan.partitions) for node in members}
    for node, position in number.items():
        assert all(number.get(user, position) >= position for user in node.users)


@given(programs())
def test_every_node_is_accounted_for(program: ExportedProgram) -> None:
    plan = make_plan(program, REGISTRY, Options())
    work = [
        n for n in program.graph.nodes
        if n.op == "call_function" and n.target is not operator.getitem
    ]  # fmt: skip
    assert list(plan.placements) == work
    for node, placement in plan.placements.items():
        if isinstance(placement, Delegated):
            assert node in plan.partitions[placement.partition]
        else:
            assert placement.reasons
            assert all(node not in members for members in plan.partitions)
        if node.target is torch.ops.aten.mul.Tensor:
            assert isinstance(placement, Fallback)
            assert placement.reasons[0].kind is reasons.NO_ENTRY


@given(programs())
def test_results_of_a_node_are_placed_with_it(program: ExportedProgram) -> None:
    plan = make_plan(program, REGISTRY, Options())
    number = {node: i for i, members in enumerate(plan.partitions) for node in members}
    for node in program.graph.nodes:
        if node.target is operator.getitem:
            assert number.get(node) == number.get(node.args[0])


@given(programs())
def test_plan_is_deterministic_and_changes_nothing(program: ExportedProgram) -> None:
    before = program.graph.python_code("self").src
    first = make_plan(program, REGISTRY, Options())
    second = make_plan(program, REGISTRY, Options())
    assert first.placements == second.placements
    assert [list(p) for p in first.partitions] == [list(p) for p in second.partitions]
    assert program.graph.python_code("self").src == before


@given(programs())
def test_without_fallback_there_is_one_partition(program: ExportedProgram) -> None:
    registry = make_registry({torch.ops.aten.mul.Tensor: lambda self, other: self * other})
    plan = make_plan(program, registry, Options())
    works = any(n.target is not torch.ops.aten.view.default for n in plan.placements)
    assert len(plan.partitions) == works


def test_detour_by_a_fallback_splits() -> None:
    # 1 -> fallback -> 3 and 1 -> 3: one partition of 1 and 3 would wait for itself.
    program = build([Step("add", (0, 0)), Step("mul", (1, 1)), Step("add", (1, 2))])
    plan = make_plan(program, REGISTRY, Options())
    assert [len(members) for members in plan.partitions] == [1, 1]


def test_fallback_beside_does_not_split() -> None:
    program = build([Step("add", (0, 0)), Step("mul", (0, 0)), Step("add", (1, 1))])
    plan = make_plan(program, REGISTRY, Options())
    assert [len(members) for members in plan.partitions] == [2]


def test_partitions_are_numbered_in_order_of_execution() -> None:
    # The second partition's first node comes before the first partition's in the graph.
    steps = [Step("mul", (0, 0)), Step("add", (1, 1)), Step("add", (0, 0)), Step("add", (2, 3))]
    program = build(steps)
    plan = make_plan(program, REGISTRY, Options())
    _, second, first, third = plan.placements.values()
    assert (first, second, third) == (Delegated(0), Delegated(1), Delegated(1))


def test_small_island_is_explained() -> None:
    program = build([Step("mul", (0, 0)), Step("add", (1, 1)), Step("mul", (2, 2))])
    plan = make_plan(program, REGISTRY, Options(min_partition_size=2))
    (_, island, _) = plan.placements.values()
    assert isinstance(island, Fallback)
    (reason,) = island.reasons
    assert reason.kind is reasons.SMALL_ISLAND
    assert reason.culprit == "aten.mul.Tensor"
    assert "1 computing node" in reason.text
    assert "at least 2" in reason.text


def test_views_alone_stay_beside_their_neighbours() -> None:
    program = build([Step("mul", (0, 0)), Step("view", (1,)), Step("mul", (2, 2))])
    (_, view, _) = make_plan(program, REGISTRY, Options()).placements.values()
    assert isinstance(view, Fallback)
    assert view.reasons[0].kind is reasons.NEIGHBOURS
    assert view.reasons[0].culprit == "aten.mul.Tensor"
    assert make_plan(program, REGISTRY, Options(min_partition_size=0)).delegated == 1


@pytest.mark.parametrize(
    "options",
    [
        Options(exclude_ops=normalize_ops(["aten.add.Tensor"])),
        Options(exclude_ops=normalize_ops([torch.ops.aten.add.Tensor])),
        Options(exclude_node=lambda node: node.target is torch.ops.aten.add.Tensor),
    ],
    ids=["name", "overload", "predicate"],
)
def test_excluded_nodes_fall_back(options: Options) -> None:
    program = build([Step("add", (0, 0)), Step("view", (1,)), Step("add", (2, 2))])
    plan = make_plan(program, REGISTRY, options)
    assert plan.delegated == 0
    first = next(iter(plan.placements.values()))
    assert isinstance(first, Fallback)
    assert first.reasons[0].kind is reasons.EXCLUDED


def test_wrong_kind_of_exclusion_is_refused() -> None:
    with pytest.raises(TypeError, match="exclude_ops holds 3"):
        normalize_ops([3])  # type: ignore[list-item]
