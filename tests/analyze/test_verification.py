"""Calls of a program against eager torch: planted faults are found, the model is left as it was.

The lowered program is played by a copy of the model with a fault, so that each kind of fault is
one line; `test_localization` has faults in what is lowered.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mlx_coverage.analyze.capture import export_methods
from mlx_coverage.analyze.comparison import CallError
from mlx_coverage.analyze.eager import Eager
from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.verification import Verified, verify_calls

# What a fault makes of the outputs of a call: its number among those of the method, its inputs.
Fault = Callable[[int, Sequence[Any], list[Any]], list[Any]]


class Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cos() * 2


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x)


class Large(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 2**53


class Gap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


class Total(nn.Module):
    """A sum that is kept, and a count in Python that is none of the program's."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.ones(3))
        self.weight = nn.Parameter(torch.ones(3))
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(1)
        self.total.add_(x)
        return self.total * self.weight


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(3))


class Step(nn.Module):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        self.cell.n.add_(x)
        return self.cell.n * 1


class Write(Step):
    def forward(self, x: Tensor) -> Tensor:
        self.cell.n.copy_(x)
        return x * 1


class Reset(Step):
    def forward(self) -> Tensor:
        self.cell.n.zero_()
        return self.cell.n * 1


class Read(Step):
    def forward(self, x: Tensor) -> Tensor:
        return self.cell.n + x


def play(methods: Mapping[str, Exportable], fault: Fault | None = None) -> dict[str, Any]:
    """Methods that compute what a copy of the models does, but for the fault."""
    copies = copy.deepcopy(dict(methods))
    eager, counts = Eager(copies, export_methods(copies)), dict.fromkeys(methods, 0)

    def make(name: str) -> Callable[[Sequence[Any]], list[Any]]:
        def call(inputs: Sequence[Any]) -> list[Any]:
            counts[name] += 1
            outputs = eager(name, inputs)
            return outputs if fault is None else fault(counts[name], inputs, outputs)

        return call

    return {name: make(name) for name in methods}


def verify(
    module: nn.Module, *args: Any, fault: Fault | None = None, shapes: Any = None
) -> Verified:
    methods = {"forward": Exportable(module.eval(), args, {}, shapes)}
    (verified,) = verify_calls(methods, export_methods(methods), play(methods, fault))
    return verified


def at(size: int) -> Fault:
    return lambda _, given, out: [o + 1 for o in out] if given[0].shape[0] == size else out


FAULTS: dict[str, tuple[nn.Module, Tensor, Fault, str]] = {
    "imaginary part": (
        Spectrum(),
        torch.randn(2, 8),
        lambda _, given, out: [out[0].conj().resolve_conj()],
        "output 0 differs",
    ),
    "integer off by one beyond 2^53": (
        Large(),
        torch.arange(4),
        lambda _, given, out: [out[0] + 1],
        "tolerance: 0",
    ),
    "state from the second call on": (
        Total(),
        torch.ones(3),
        lambda number, given, out: [o + (number > 1) for o in out],
        r"forward \(call 2, other values\)",
    ),
    "values below zero": (
        Layer(),
        torch.rand(3),
        lambda _, given, out: [torch.where(given[0] < 0, 0, out[0])],
        r"values of both signs\), output 0 differs",
    ),
    "values above the example's": (
        Layer(),
        torch.full((16,), 0.5),
        lambda _, given, out: [torch.where(given[0] > 0.6, 0, out[0])],
        r"other values\), output 0 differs",
    ),
    "NaN elsewhere": (
        Gap(),
        torch.tensor([1.0, 2.0, -3.0]),
        lambda _, given, out: [out[0].roll(1)],
        "by inf",
    ),
    "NaN swallowed": (
        Gap(),
        torch.tensor([1.0, 2.0, -3.0]),
        lambda _, given, out: [out[0].nan_to_num()],
        "by inf",
    ),
    "half precision inside": (
        Layer(),
        torch.randn(64),
        lambda _, given, out: [o.half().float() for o in out],
        "tolerance: 0.0001",
    ),
    "left of the calls before": (
        Layer(),
        torch.rand(3),
        lambda number, given, out: [o + (number == 4) for o in out],
        r"\(call 4\), output 0 differs",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(name: str) -> None:
    module, example, fault, says = FAULTS[name]
    assert verify(module, example).error == 0.0
    with pytest.raises(CallError, match=says):
        verify(module, example, fault=fault)


@pytest.mark.parametrize("size", [0, 1, 16, 8])
def test_fault_at_another_size_is_found(size: int) -> None:
    shapes = ({0: Dim("n", min=0, max=16)},)
    x = torch.randn(5, 3) + (0 if size else 1)
    fault = at(size)
    if size == 0:  # no element is wrong where there is none
        fault = lambda _, given, out: [o[:, :2] if not len(o) else o for o in out]  # noqa: E731
    with pytest.raises(CallError, match=rf"x\.shape\[0\] = {size}\)"):
        verify(Layer(), x, fault=fault, shapes=shapes)
    verified = verify(Layer(), x, shapes=shapes)
    assert verified.calls == 8
    assert "x.shape[0] = 0; x.shape[0] = 1; x.shape[0] = 16" in str(verified)


def test_refused_call_that_torch_makes_is_a_difference() -> None:
    def refuse(_: int, given: Sequence[Any], out: list[Any]) -> list[Any]:
        if given[0].shape[0] == 16:
            raise InputError("the call failed: too large")
        return out

    shapes = ({0: Dim("n", max=16)},)
    with pytest.raises(CallError, match=r"x\.shape\[0\] = 16\): the call failed: too large"):
        verify(Layer(), torch.ones(5), fault=refuse, shapes=shapes)


def test_sizes_that_eager_torch_refuses_are_named() -> None:
    class Largest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.amax(0)

    shapes = ({0: Dim("n", min=0, max=16)},)
    text = str(verify(Largest(), torch.randn(5, 3), shapes=shapes))
    assert "not with x.shape[0] = 0, which torch.export's program refuses" in text
    assert "x.shape[0] = 16" in text


@pytest.mark.parametrize(
    "order",
    [
        ("step", "reset", "read"),
        ("read", "step", "reset"),
        ("write", "reset", "read"),
        ("reset", "read", "write"),
        ("read", "write"),
        ("step", "write", "read", "reset"),
        ("write", "write2", "reset", "read", "reset2"),
    ],
)
def test_state_apart_is_found_in_any_order_of_methods(order: tuple[str, ...]) -> None:
    cell, x = Cell(), (torch.ones(3),)
    known = {
        "step": Exportable(Step(cell), x),
        "write": Exportable(Write(cell), x),
        "write2": Exportable(Write(cell), x),
        "reset": Exportable(Reset(cell), ()),
        "reset2": Exportable(Reset(cell), ()),
        "read": Exportable(Read(cell), x),
    }
    methods = {name: known[name] for name in order}
    programs = export_methods(methods)
    verified = verify_calls(methods, programs, play(methods))
    assert [v.method for v in verified] == list(order)
    assert all(v.calls >= 5 for v in verified)
    assert f"in turns with {', '.join(order[1:])}" in str(verified[0])
    apart = {name: play({name: methods[name]})[name] for name in order}
    with pytest.raises(CallError, match="differs from eager torch"):
        verify_calls(methods, programs, apart)
    assert torch.equal(cell.n, torch.zeros(3))


def test_first_calls_are_in_the_order_given() -> None:
    cell, x = Cell(), (torch.ones(3),)
    methods = {"step": Exportable(Step(cell), x), "read": Exportable(Read(cell), x)}
    played, order = play(methods), []

    def follow(name: str) -> Callable[[Sequence[Any]], list[Any]]:
        def call(inputs: Sequence[Any]) -> list[Any]:
            order.append(name)
            return played[name](inputs)

        return call

    verify_calls(methods, export_methods(methods), {name: follow(name) for name in methods})
    assert order[:2] == ["step", "read"]
    pairs = set(pairwise(order))
    assert pairs == {(a, b) for a in methods for b in methods}


@pytest.mark.parametrize("fault", [None, lambda _, given, out: [out[0] + 1]])
@pytest.mark.parametrize("program", [False, True])
def test_model_is_left_as_it_was(fault: Fault | None, program: bool) -> None:
    model = Total()
    model.total.fill_(5)
    methods: Any = {"forward": Exportable(model, (torch.ones(3),))}
    programs = export_methods(methods)
    model.seen = seen = []
    state, buffer = copy.deepcopy(model.state_dict()), model.total
    try:
        verify_calls(programs if program else methods, programs, play(methods, fault))
    except CallError:
        assert fault is not None
    assert model.total is buffer
    assert model.seen is seen
    assert seen == []
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_inputs_are_left_as_they_were() -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x[:, 0] = 0
            x.mul_(2)
            return x + 1

    x = torch.ones(2, 3)
    given: dict[str, Any] = {"forward": Exportable(Writes(), (x,))}
    outputs = Eager(given, export_methods(given))("forward", [x])
    written = torch.tensor([[0.0, 2.0, 2.0]] * 2)
    assert torch.equal(outputs[0], written)
    assert torch.equal(outputs[1], written + 1)
    assert torch.equal(x, torch.ones(2, 3))


def test_random_model_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    methods = {"forward": Exportable(model, (torch.ones(8, 4),))}
    with pytest.raises(InputError, match="other numbers in each call"):
        verify_calls(methods, export_methods(methods), play(methods))


def test_model_that_does_not_run_on_its_example_is_refused() -> None:
    methods = {
        "forward": Exportable(nn.Embedding(4, 2), (torch.tensor([9]),)),
    }
    programs = export_methods(methods)
    with pytest.raises(InputError, match=r"does not run on the example inputs .*out of range"):
        verify_calls(methods, programs, {"forward": lambda inputs: []})


class Cancels(nn.Module):
    """Of inputs near one, little more is left than their rounding."""

    def forward(self, x: Tensor) -> Tensor:
        return x - 1


def test_what_rounding_of_the_inputs_explains_is_no_fault() -> None:
    def round_otherwise(_: int, given: Sequence[Any], out: list[Any]) -> list[Any]:
        return [given[0] * (1 + 2.0**-22) - 1]

    x = 1 + 1e-3 * torch.rand(64)
    verified = verify(Cancels(), x, fault=round_otherwise)
    assert "a rounding of the inputs alone changes the result" in str(verified)
    with pytest.raises(CallError, match="differs from eager torch"):
        verify(Cancels(), x, fault=lambda _, given, out: [out[0] * 1.1])


def test_long_calls_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_coverage.analyze.verification._PATIENCE", -1.0)
    verified = verify(Layer(), torch.rand(3))
    assert verified.calls == 1
    assert str(verified).endswith("not made: 3 further calls, which would take too long")
