"""Positions of non-zero elements: ExecuTorch's kernel of `nonzero` transposes them."""

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


MATRIX = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 4.0], [0.0, 0.0, 5.0]])


def name_columns(x: Tensor) -> Tensor:
    return torch.where(x > 0)[1] + 1


def read_rows(x: Tensor) -> Tensor:
    return x[torch.nonzero(x)[:, 0]]


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (torch.nonzero, MATRIX),
        (torch.nonzero, MATRIX.new_zeros(2, 3)),
        (torch.nonzero, MATRIX.repeat(2, 1, 1)),
        (lambda x: torch.nonzero(x > 2) * 2, MATRIX),
        (name_columns, MATRIX),
        (read_rows, MATRIX),
        (lambda x: torch.where(x > 0)[0], MATRIX[0]),
        (lambda x: torch.nonzero(x > 0)[:, 0], MATRIX[0]),
        (lambda x: torch.nonzero(x > 0).flatten(), MATRIX[0]),
        (lambda x: torch.argwhere(x > 1).squeeze(-1), MATRIX[0]),
        (lambda x: x[torch.nonzero(x > 0).squeeze(-1)] * 2, MATRIX[0]),
    ],
)
def test_positions_are_those_of_torch(function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    lowered = lower(Apply(function), x)
    assert lowered.fallbacks().count("aten.nonzero.default") == 1
    (found,) = lowered.start()(x)
    assert torch.equal(found, function(x))


def test_sizes_may_be_dynamic() -> None:
    sizes = {0: torch.export.Dim("rows", max=8), 1: torch.export.Dim("columns", max=8)}
    model = Apply(torch.nonzero)
    running = lower(model, MATRIX, dynamic_shapes=({**sizes},)).start()
    for x in (MATRIX, MATRIX.repeat(2, 1), MATRIX[:2, :2].contiguous()):
        assert torch.equal(running(x)[0], torch.nonzero(x))


def test_one_dimension_is_left_as_it_is() -> None:
    lowered = lower(Apply(torch.nonzero), MATRIX[0])
    assert lowered.fallbacks() == ["aten.nonzero.default"]
    assert torch.equal(lowered.start()(MATRIX[0])[0], torch.nonzero(MATRIX[0]))
