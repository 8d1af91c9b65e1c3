"""A dynamic batch stays one through ops that return lists of tensors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.lowering import lower


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Recurrent(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


@pytest.mark.parametrize(
    ("model", "shape", "dim"),
    [
        (Apply(lambda x: torch.mul(*x.chunk(2, 1))), (3, 4), 0),
        (Apply(lambda x: torch.sub(*x[:, 2:].split(3, -1))), (3, 8), 0),
        (Apply(lambda x: torch.mul(*x.unbind(1))), (3, 2, 4), 0),
        (Apply(lambda x: nn.functional.glu(x, 1)), (3, 4), 0),
        (Recurrent(nn.GRU(4, 5)), (3, 2, 4), 1),
        (Recurrent(nn.GRU(4, 5, batch_first=True, bidirectional=True)), (2, 3, 4), 0),
        (Recurrent(nn.LSTM(4, 5)), (3, 2, 4), 1),
        (Recurrent(nn.RNN(4, 5)), (3, 2, 4), 1),
    ],
)
def test_any_batch(model: nn.Module, shape: tuple[int, ...], dim: int) -> None:
    dynamic = ({dim: torch.export.Dim("batch", min=1, max=16)},)
    running = lower(model.eval(), torch.randn(shape), dynamic_shapes=dynamic).start()
    for batch in (1, shape[dim], 7, 16):
        x = torch.randn(*shape[:dim], batch, *shape[dim + 1 :])
        with torch.no_grad():
            torch.testing.assert_close(running(x), [model(x)], rtol=1e-5, atol=1e-6)
