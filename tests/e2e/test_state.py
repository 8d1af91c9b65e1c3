"""Mutable buffers: initial values, updates over calls, and readers and writers apart."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.closeness import assert_close
from tests.e2e.lowering import Lowered, lower, run_eagerly

DETOUR = "aten.sin.default"  # kept off the delegate, to split the graph there


class Accumulator(nn.Module):
    """A running sum that does not start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x)
        return self.total * 2


class WrittenAfterDetour(nn.Module):
    """Read in the first partition and written in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sin(x + self.state)
        self.state.copy_(y * 3 - 1)
        return y + 1


class ReadAfterDetour(nn.Module):
    """Written in the first partition; the old value is read in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        old = self.state.clone()
        new = x * 2 + old
        self.state.copy_(new)
        return torch.sin(new * 3) + old


class NewValueReadAfterDetour(nn.Module):
    """Written in the first partition; the new value is read in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.state.add_(x)
        return torch.sin(self.state * 2) + self.state


class NewValueReadByFallback(nn.Module):
    """Written by the delegate; the fallback reads the new value."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.state.add_(x)
        return torch.sin(self.state) + x


class ReadByFallback(nn.Module):
    """The fallback itself reads the buffer, the delegate writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sin(self.state)
        self.state.mul_(x)
        return y + x


class WrittenByFallback(nn.Module):
    """The delegate reads the buffer, the fallback writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.state
        self.state.copy_(torch.sin(y))
        return y + 1


class NewValueIsOutput(nn.Module):
    """What is written is also the result."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        new = self.state + x
        self.state.copy_(new)
        return new, self.state


class TwoBuffers(nn.Module):
    """Each is written from the other: a swap with an update."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.tensor([1.0, -2.0, 3.0]))
        self.register_buffer("second", torch.tensor([5.0, 0.5, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.first.clone(), self.second.clone()
        self.first.copy_(second * x)
        self.second.copy_(first - x)
        return first + second


class Overwritten(nn.Module):
    """Written without being read."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.last.copy_(x * 2)
        return x + 1


class Shifted(nn.Module):
    """Written through a view: the new value goes in at the end, the oldest leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.arange(6.0))

    def forward(self, x: Tensor) -> Tensor:
        shifted = torch.cat([self.window[3:], x])
        self.window.copy_(shifted)
        return self.window.cumsum(0)


class Counter(nn.Module):
    """An integer state without dimensions, which places the update of another one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(2))
        self.register_buffer("log", torch.zeros(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        self.log.index_copy_(0, self.step.reshape(1), x.reshape(1, 3))
        self.step.add_(1)
        return self.log.sum(0) + self.step


class Swapped(nn.Module):
    """Each buffer takes the other's old value, and nothing else is computed with them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.tensor([1.0, -2.0, 3.0]))
        self.register_buffer("second", torch.tensor([5.0, 0.5, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        kept = self.first.clone()
        self.first.copy_(self.second)
        self.second.copy_(kept)
        return x + self.first


class Rotated(nn.Module):
    """Three buffers, each of which takes the next one's old value."""

    def __init__(self) -> None:
        super().__init__()
        for number, name in enumerate(("first", "second", "third")):
            self.register_buffer(name, torch.arange(3.0) + 10 * number)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first.clone()
        self.first.copy_(self.second)
        self.second.copy_(self.third)
        self.third.copy_(first)
        return x - self.first * self.second


class ShiftRegister(nn.Module):
    """The input goes in at one end; each buffer hands its old value on."""

    def __init__(self) -> None:
        super().__init__()
        for number, name in enumerate(("newest", "middle", "oldest")):
            self.register_buffer(name, torch.full((3,), float(number)))

    def forward(self, x: Tensor) -> Tensor:
        self.oldest.copy_(self.middle)
        self.middle.copy_(self.newest)
        self.newest.copy_(x)
        return self.oldest + 2 * self.middle


class Previous(nn.Module):
    """A recurrence that keeps the state before the last one beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.tensor([1.0, -2.0, 3.0]))
        self.register_buffer("h_previous", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        change = self.h - self.h_previous
        self.h_previous.copy_(self.h)
        self.h.copy_(torch.tanh(self.h + x))
        return change


class PreviousByView(nn.Module):
    """What is handed on is a view of the other buffer, of another shape."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.tensor([1.0, -2.0, 3.0]))
        self.register_buffer("h_previous", torch.zeros(3, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.h_previous.copy_(self.h.view(3, 1))
        self.h.add_(x)
        return self.h_previous.sum(1) * x


class FromConstant(nn.Module):
    """A buffer that is set to a constant, and one that is set to a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("start", torch.tensor([4.0, 5.0, 6.0]))
        self.register_buffer("h", torch.zeros(3))
        self.register_buffer("w", torch.ones(3))
        self.weight = nn.Parameter(torch.tensor([7.0, 8.0, 9.0]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.h * self.w
        self.h.copy_(self.start)
        self.w.copy_(self.weight)
        return y


class WrittenTwice(nn.Module):
    """One value goes to two buffers, of which one is narrower, and is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.zeros(3))
        self.register_buffer("second", torch.ones(3))
        self.register_buffer("narrow", torch.ones(3, dtype=torch.float16))

    def forward(self, x: Tensor) -> Tensor:
        new = x + self.first * self.second + self.narrow
        self.first.copy_(new)
        self.second.copy_(new)
        self.narrow.copy_(new)
        return new


class FromNewValue(nn.Module):
    """A buffer takes the value that another one has just taken, and hands its own on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.zeros(3))
        self.register_buffer("second", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        self.first.add_(x)
        old = self.second.clone()
        self.second.copy_(self.first)
        self.first.copy_(old)
        return self.first - self.second


class Viewed(nn.Module):
    """Rows of one buffer go to others, are exchanged, and are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.arange(6.0).reshape(2, 3))
        self.register_buffer("row", torch.zeros(3))
        self.register_buffer("columns", torch.zeros(3, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        self.row.copy_(self.rows[0])
        self.columns.copy_(self.rows.t())
        self.rows[0].copy_(self.rows[1])
        self.rows[1].copy_(x)
        return self.row, self.columns * 1, self.rows


class Flags(nn.Module):
    """Truth values and integers are handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("on", torch.tensor(True))
        self.register_buffer("off", torch.tensor(False))
        self.register_buffer("whole", torch.tensor([1, 2, 3]))
        self.register_buffer("real", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        on = self.on.clone()
        self.on.copy_(self.off)
        self.off.copy_(on)
        self.real.copy_(self.whole)
        self.whole.copy_(x.to(torch.int64))
        return torch.where(self.on, x, -x) + self.real


class Zeroed(nn.Module):
    """Set to zero on each call, and never read."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.h + x
        self.h.zero_()
        return y


HANDED_ON = [
    *(Swapped, Rotated, ShiftRegister, Previous, PreviousByView, FromConstant, WrittenTwice),
    *(FromNewValue, Zeroed, Overwritten, NewValueIsOutput, TwoBuffers, Viewed, Flags),
]
WHOLE = [*HANDED_ON, Accumulator, Shifted, Counter]
SPLIT = [
    *(WrittenAfterDetour, ReadAfterDetour, ReadByFallback, WrittenByFallback),
    *(NewValueReadAfterDetour, NewValueReadByFallback),
]


def compare_calls(lowered: Lowered, model: nn.Module, calls: Sequence[Any]) -> None:
    run = lowered.start()
    for call in calls:
        assert_close(run(call), run_eagerly(model, call))


@pytest.mark.parametrize("model", WHOLE, ids=lambda m: m.__name__)
def test_state_in_one_partition(model: type[nn.Module]) -> None:
    module = model().eval()
    lowered = lower(module, torch.randn(3))
    assert lowered.fallbacks() == []
    assert len(lowered.delegates()) == 1
    compare_calls(lowered, module, torch.randn(5, 3))


@pytest.mark.parametrize("model", SPLIT, ids=lambda m: m.__name__)
def test_state_read_and_written_apart(model: type[nn.Module]) -> None:
    module = model().eval()
    lowered = lower(module, torch.randn(3), exclude_ops=[DETOUR])
    assert DETOUR in lowered.fallbacks()
    assert lowered.delegates()
    compare_calls(lowered, module, torch.randn(5, 3))


@pytest.mark.parametrize("model", HANDED_ON, ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    "excluded",
    [["aten.copy.default"], ["aten.clone.default", "aten.add.Tensor"], ["aten.mul.Tensor"]],
    ids=["writes", "copies", "multiplications"],
)
def test_values_handed_on_beside_fallbacks(model: type[nn.Module], excluded: list[str]) -> None:
    module = model().eval()
    lowered = lower(module, torch.randn(3), exclude_ops=excluded)
    compare_calls(lowered, module, torch.randn(5, 3))


def test_each_loaded_method_has_its_own_state() -> None:
    module = Accumulator().eval()
    lowered = lower(module, torch.randn(3))
    x = torch.ones(3)
    first = lowered.start()
    first(x)
    first(x)
    assert_close(lowered.start()(x), run_eagerly(Accumulator(), x))


def test_owned_state_is_not_passed_on_each_call() -> None:
    lowered = lower(Accumulator().eval(), torch.randn(3))
    (delegate,) = lowered.delegates()
    signature = delegate.original_module.graph_signature
    assert list(signature.user_inputs) == ["x"]
    assert signature.buffers_to_mutate


def test_zero_state_is_not_stored() -> None:
    class Cache(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("keys", torch.zeros(1 << 20))

        def forward(self, x: Tensor) -> Tensor:
            self.keys.add_(x)
            return self.keys.sum()

    assert len(lower(Cache().eval(), torch.ones(1)).pte) < 64 << 10
