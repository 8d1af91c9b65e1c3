"""Inputs and weights in another memory layout."""

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.closeness import assert_close
from tests.e2e.lowering import lower, run_eagerly


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image) + 1


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Convolution().eval()


def test_channels_last_example_input(model: nn.Module) -> None:
    image = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    lowered = lower(model, image)
    assert lowered.delegates()
    assert_close(lowered.start()(image), run_eagerly(model, image))


def test_channels_last_weights(model: nn.Module) -> None:
    image = torch.randn(2, 3, 8, 8)
    expected = run_eagerly(model, image)
    moved = Convolution().eval().to(memory_format=torch.channels_last)
    moved.load_state_dict(model.state_dict())
    lowered = lower(moved, image)
    assert len(lowered.delegates()) == 1
    assert_close(lowered.start()(image), expected)


def test_channels_last_input_at_run_time_is_read_as_executorch_reads_it(model: nn.Module) -> None:
    # ExecuTorch copies the bytes into the layout that was exported, before any delegate
    # sees them: a caller must give the layout of the example.
    image = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    example = torch.randn(2, 3, 8, 8)
    delegated = lower(model, example).start()
    portable = lower(model, example, exclude_node=lambda node: True).start()
    assert_close(delegated(image), portable(image))


def test_strided_input(model: nn.Module) -> None:
    wide = torch.randn(2, 3, 8, 16)
    run = lower(model, torch.randn(2, 3, 8, 8)).start()
    image = wide[..., ::2]
    try:
        found = run(image)
    except RuntimeError:
        return
    assert_close(found, run_eagerly(model, image))


def test_transposed_weight() -> None:
    class Projection(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4).t())

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    model = Projection().eval()
    x = torch.randn(3, 4)
    lowered = lower(model, x)
    assert lowered.fallbacks() == []
    assert_close(lowered.start()(x), run_eagerly(model, x))


class Restride(nn.Module):
    """`as_strided` of views, whose strides count in the storage beneath them."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = x + 1
        return (
            x.t().as_strided((2, 2), (1, 2), 1),
            x.as_strided((2, 3), (3, 1), 2),
            x[1:].as_strided((2, 2), (2, 1)),
            # Elements beyond those of the view: between them, and before.
            x[:, :2].as_strided((2, 2), (4, 1)),
            x[1:].as_strided((2, 2), (2, 1), 0),
            x.split(1)[2].as_strided((2, 2), (2, 1), 1),
        )


def test_restrided_view_reads_its_storage() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    lowered = lower(Restride().eval(), x)
    assert_close(lowered.start()(x), run_eagerly(Restride(), x))
