"""Segments in an order that can run, and what crosses between them."""

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage.analyze.schedule import OUTSIDE, Schedule
from mlx_coverage.lowering.plan import PartitionPlan
from tests.analyze.planning import make_plan

aten = torch.ops.aten


class Steps(nn.Module):
    """`sin` and `cos` in a given order, each with the sum of all that came before."""

    def __init__(self, falls_back: list[bool]) -> None:
        super().__init__()
        self.falls_back = falls_back

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for falls_back in self.falls_back:
            total = total + (torch.sin(x) if falls_back else torch.cos(total))
        return total


class Split(nn.Module):
    def forward(self, x: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
        first, second = torch.split(x.exp(), 2)
        return torch.sin(first) + torch.sin(second), second.cos()


class State(nn.Module):
    """One buffer that MLX alone uses, and one that a fallback node reads as well."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("own", torch.zeros(3))
        self.register_buffer("shared", torch.zeros(5))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.own.add_(x)
        before = torch.sin(self.shared)
        self.shared.add_(y)
        return self.own.exp(), before


def check_order(plan: PartitionPlan) -> None:
    schedule = Schedule(plan)
    assert sum(len(stretch.nodes) for stretch in schedule.stretches) == len(plan.placements)
    partitions = [s.partition for s in schedule.stretches if s.partition is not None]
    assert partitions == list(range(len(plan.partitions)))
    for node, position in schedule.positions.items():
        assert node in schedule.stretches[position].nodes
        for source in node.all_input_nodes:
            assert schedule.positions.get(source, 0) <= position


@pytest.mark.parametrize("falls_back", ["0", "1", "01", "10", "0110", "10010"])
def test_stretches_can_run_in_their_order(falls_back: str) -> None:
    steps = Steps([c == "1" for c in falls_back])
    check_order(make_plan(steps, torch.ones(3), exclude=[aten.sin.default]))


def test_values_that_cross() -> None:
    plan = make_plan(Split(), torch.ones(4), torch.ones(9), exclude=[aten.sin.default])
    check_order(plan)
    schedule = Schedule(plan)
    assert [s.partition for s in schedule.stretches] == [0, None, 1]
    passages = schedule.list_passages()
    # The unused input crosses nothing; both halves are made by one split.
    assert {ends: p.bytes for ends, p in passages.items()} == {
        (OUTSIDE, 0): 16, (0, 1): 16, (0, OUTSIDE): 8, (1, 2): 16, (2, OUTSIDE): 8,
    }  # fmt: skip
    assert len(passages[0, 1].tensors) == 2
    assert len(passages[0, 1].makers) == 1


def test_order_of_passages_is_that_of_execution() -> None:
    plan = make_plan(Split(), torch.ones(4), torch.ones(9), exclude=[aten.sin.default])
    assert list(Schedule(plan).list_passages()) == [
        (OUTSIDE, 0), (0, 1), (0, OUTSIDE), (1, 2), (2, OUTSIDE),
    ]  # fmt: skip


def test_buffers_of_the_delegate_do_not_cross() -> None:
    plan = make_plan(State(), torch.ones(3), torch.ones(5), exclude=[aten.sin.default])
    schedule = Schedule(plan)
    assert [stretch.partition for stretch in schedule.stretches] == [None, 0]
    passages = schedule.list_passages()
    # In: x, y and the shared buffer. Out: exp, and the shared buffer's new value.
    assert passages[OUTSIDE, 1].bytes == (3 + 5 + 5) * 4
    assert passages[1, OUTSIDE].bytes == (3 + 5) * 4
    assert len(passages) == 2


def test_constants_do_not_cross() -> None:
    plan = make_plan(nn.Linear(3, 3), torch.ones(1, 3))
    assert {e: p.bytes for e, p in Schedule(plan).list_passages().items()} == {
        (OUTSIDE, 0): 12,
        (0, OUTSIDE): 12,
    }


@pytest.mark.parametrize("exclude", [[aten.exp.default, aten.split.Tensor, aten.sin.default,
                                      aten.cos.default, aten.add.Tensor]])  # fmt: skip
def test_nothing_crosses_where_nothing_is_delegated(exclude: list[torch._ops.OpOverload]) -> None:
    excluded = [*exclude, aten.split_with_sizes.default]
    plan = make_plan(Split(), torch.ones(4), torch.ones(9), exclude=excluded)
    assert plan.partitions == []
    assert Schedule(plan).list_passages() == {}
    check_order(plan)
