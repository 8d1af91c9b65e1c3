"""Many values, views larger than memory, tensors without elements."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage import runtime
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import lower, lower_methods, run_eagerly


class Function(nn.Module):
    """A module around a function of its buffers and inputs."""

    def __init__(self, function: Callable[..., object], **buffers: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*self.buffers(), *inputs)


def check(model: nn.Module, *inputs: Tensor) -> None:
    """Lowered whole, the model gives what eager torch gives."""
    lowered = lower(model, *inputs)
    assert len(lowered.delegates()) == 1
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(*inputs), run_eagerly(model, *inputs))


def test_more_parts_than_a_byte_counts():
    check(Function(lambda x: torch.stack(torch.split(x, 1)).sum(0) * 2), torch.randn(300, 2))


ONE = torch.ones(1, 1)
SIZE = 200_000  # its square takes 160 GB as float32


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.expand(SIZE, SIZE)[:3, :2] * 2,
        lambda x: torch.broadcast_to(x, (SIZE, SIZE))[-2:, 7] + 1,
        lambda x: x.expand(SIZE, SIZE).t()[5, :4].exp(),
        lambda x: x.expand(SIZE, SIZE).unsqueeze(1)[:2, 0, :2] * 2,
        lambda x: x.expand(SIZE, SIZE).index_select(0, torch.tensor([3, 1]))[:, :2] * 2,
        lambda x: x.expand(SIZE, SIZE).unflatten(0, (2, -1))[1, :2, :3] * 2,
    ],
)
def test_views_larger_than_memory(function: Callable[..., object]):
    check(Function(function), ONE)


@pytest.fixture
def small_limit():
    """A limit that the tests can cross without the memory that it stands for."""
    runtime.load()
    runtime.set_options(max_array_bytes=1 << 20)
    yield
    runtime.set_options(max_array_bytes=1 << 36)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize(
    ("function", "is_free"),
    [
        (lambda x: x.expand(1000, 1000)[:3] * 2, True),
        (lambda x: x.expand(1000, 1000).amax(0)[:3], runtime.device() == "cpu"),
        (lambda x: (x.expand(1000, 1000) * 2)[:3], False),
        (lambda x: (x.expand(1000, 1000) @ x.expand(1000, 2))[:3], False),
        (lambda x: x.expand(1000, 1000).reshape(-1)[:3] * 2, False),
        (lambda x: x.repeat(1000, 1000)[:3] * 2, True),
        (lambda x: x.expand(2, 2).repeat(600, 600)[:3] * 2, False),
        (lambda x: x.expand(1000, 1000).cumsum(0)[:3], False),
        (lambda x: torch.cat([x.expand(1000, 1000), x.expand(1000, 1000)])[:3] * 2, False),
    ],
)
def test_what_takes_memory_is_refused_above_the_limit(
    function: Callable[..., object], is_free: bool
):
    if is_free:
        check(Function(function), ONE)
        return
    lowered = lower(Function(function), ONE)
    assert lowered.fallbacks() == []
    program = lowered.start()
    with pytest.raises(RuntimeError):
        program(ONE)
    assert "above the limit of 1048576 bytes (max_array_bytes)" in runtime.last_error()


@pytest.mark.usefixtures("small_limit")
def test_repeats_of_a_dynamic_size_are_counted():
    model = Function(lambda n, x: x.repeat(n.shape[0], 1) * 2)
    n = torch.export.Dim("n", min=2, max=1 << 20)
    lowered = lower(model, torch.zeros(3), torch.ones(1, 8), dynamic_shapes=(({0: n}, None),))
    program = lowered.start()
    assert_close(program(torch.zeros(5), torch.ones(1, 8)), [torch.full((5, 8), 2.0)])
    with pytest.raises(RuntimeError):
        program(torch.zeros(100_000), torch.ones(1, 8))
    assert "above the limit" in runtime.last_error()
    assert_close(program(torch.zeros(5), torch.ones(1, 8)), [torch.full((5, 8), 2.0)])


NONE = torch.empty(0, 4)


@pytest.mark.parametrize(
    ("function", "buffers"),
    [
        (lambda none, x: torch.cat([none, x * 2]), {"none": NONE}),
        (lambda none, x: (none + 1, x * 2), {"none": NONE}),
        (lambda none, x: none.sum(0) + x, {"none": NONE}),
        (lambda none, x: x @ none.t(), {"none": NONE}),
        (
            lambda none, other, x: torch.cat([none, other.t(), x + 1]),
            {"none": NONE, "other": NONE.t()},
        ),
        (lambda scalar, x: x * scalar, {"scalar": torch.tensor(3.0)}),
        (lambda byte, x: x * byte, {"byte": torch.tensor([3], dtype=torch.uint8)}),
        (lambda flag, x: torch.where(flag, x, -x), {"flag": torch.tensor(False)}),
    ],
)
def test_constants_of_few_bytes_or_none(
    function: Callable[..., object], buffers: dict[str, Tensor]
):
    check(Function(function, **buffers), torch.randn(2, 4))


def test_empty_parameter():
    model = nn.Linear(4, 4)
    model.none = nn.Parameter(torch.empty(0, 4))
    model.forward = lambda x: torch.cat([model.none, nn.functional.linear(x, model.weight)])
    check(model, torch.randn(2, 4))


def test_empty_inputs_and_outputs():
    check(Function(lambda x, y: (x * 2, torch.cat([x, y]))), torch.empty(0, 4), torch.randn(2, 4))


class Kept(nn.Module):
    """A mutable buffer without elements beside one with some."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("none", torch.empty(0, 4))
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.none.mul_(2)
        self.total.add_(x.sum(0))
        return torch.cat([self.none, self.total.unsqueeze(0), x])


def test_empty_state():
    x = torch.randn(2, 4)
    lowered = lower(Kept(), x)
    assert lowered.delegates()
    program, model = lowered.start(), Kept()
    for _ in range(3):
        assert_close(program(x), run_eagerly(model, x))


def test_empty_constant_of_two_methods():
    x = torch.randn(2, 4)
    models = {
        "first": Function(lambda none, x: torch.cat([none, x * 2]), none=NONE),
        "second": Function(lambda none, x: torch.cat([x + 1, none]), none=NONE),
    }
    lowered = lower_methods({name: (model, (x,), {}, None) for name, model in models.items()})
    for name, model in models.items():
        assert lowered.delegates(name)
        assert_close(lowered.start(name)(x), run_eagerly(model, x))


def test_empty_constant_that_stays_with_executorch():
    x = torch.randn(2, 4)
    model = Function(lambda none, x: torch.cat([none, x]) * 2, none=NONE)
    lowered = lower(model, x, exclude_ops=["aten.cat.default"])
    assert lowered.fallbacks() == ["aten.cat.default"]
    assert lowered.delegates()
    assert_close(lowered.start()(x), run_eagerly(model, x))
