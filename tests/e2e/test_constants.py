"""Constants of any layout in memory: parameters, buffers and plain attributes of a module."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.closeness import assert_close
from tests.e2e.lowering import lower, run_eagerly

LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "transposed": lambda: torch.randn(4, 3).t(),
    "transposed half": lambda: torch.randn(4, 3).half().t(),
    "transposed int": lambda: torch.arange(12).reshape(4, 3).t(),
    "expanded": lambda: torch.randn(1, 4).expand(3, 4),
    "expanded scalar": lambda: torch.tensor(2.0).expand(3, 4),
    "sliced": lambda: torch.randn(6, 8)[::2, 1:5],
    "a part of a storage": lambda: torch.randn(5, 4)[2:],
    "overlapping": lambda: torch.randn(20).as_strided((3, 4), (2, 1)),
}


class Constants(nn.Module):
    """One tensor held in each way that a module can, and used with and without casts."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        super().__init__()
        self.register_buffer("persistent", make())
        self.register_buffer("transient", make(), persistent=False)
        self.parameter = nn.Parameter(make(), requires_grad=False)
        self.attribute = make()

    def forward(self, x: Tensor) -> list[Tensor]:
        held = (self.persistent, self.transient, self.parameter, self.attribute)
        return [y for c in held for y in (x + c, x * c.half(), c.clone(), x.view(-1) * c.flatten())]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_constants_of_any_layout(layout: str) -> None:
    torch.manual_seed(0)
    model, x = Constants(LAYOUTS[layout]).eval(), torch.randn(3, 4)
    lowered = lower(model, x)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(x), run_eagerly(model, x))


class Restrided(nn.Module):
    """Strides that count in the storage of a constant, beyond its own elements."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps = nn.Parameter(torch.randn(6, 8)[::2, 1:5])
        self.register_buffer("part", torch.randn(6, 4)[2:], persistent=False)
        self.column = torch.randn(3, 4)[:, 1]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            x + self.gaps.as_strided((3, 4), (8, 1)),
            x + self.part.as_strided((3, 4), (1, 1), 1),
            x + self.column.as_strided((3, 4), (4, 1), 0),
            x + self.gaps + self.column[:, None],
        )


def test_storage_of_a_constant_is_read_between_its_elements() -> None:
    torch.manual_seed(0)
    model, x = Restrided().eval(), torch.randn(3, 4)
    lowered = lower(model, x)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(x), run_eagerly(model, x))


class Tied(nn.Module):
    """Views of one storage under several names."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(4, 4)
        self.weight = nn.Parameter(weight)
        self.register_buffer("transposed", weight.t(), persistent=False)
        self.register_buffer("rows", weight[1:], persistent=False)
        self.column = weight[:, 2]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x @ self.weight, x @ self.transposed, x @ self.rows.t(), x * self.column


def test_views_of_one_storage() -> None:
    torch.manual_seed(0)
    model, x = Tied().eval(), torch.randn(3, 4)
    kept = {name: (t.data_ptr(), t.stride()) for name, t in model.named_parameters()}
    lowered = lower(model, x)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(x), run_eagerly(model, x))
    assert kept == {name: (t.data_ptr(), t.stride()) for name, t in model.named_parameters()}


class Mutated(nn.Module):
    """State of a layout that ExecuTorch has no name for."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(4, 3).t())
        self.register_buffer("transient", torch.zeros(4, 3).t(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.kept.add_(x)
        self.transient.mul_(2).add_(x)
        return self.kept - self.transient


def test_transposed_state() -> None:
    model, x = Mutated(), torch.randn(3, 4)
    lowered = lower(model, x)
    assert lowered.delegates()
    running = lowered.start()
    for _ in range(3):
        assert_close(running(x), run_eagerly(model, x))


class Volumes(nn.Module):
    """channels_last of five dimensions, which ExecuTorch has no name for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(3, 4, 3)
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.contiguous(memory_format=torch.channels_last_3d)).half()


def test_channels_last_volumes() -> None:
    torch.manual_seed(0)
    model, x = Volumes().eval(), torch.randn(2, 3, 5, 5, 5)
    lowered = lower(model, x)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(x), run_eagerly(model, x))
