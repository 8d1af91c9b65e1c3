"""Operands of several dtypes in one call, which ExecuTorch's own check refuses."""

from collections.abc import Callable, Iterator
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.closeness import assert_close
from tests.e2e.lowering import lower, run_eagerly

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64)
MASK = torch.tensor([[True, False, True], [False, True, False]])


def set_rows(x: Tensor, y: Tensor) -> Tensor:
    x = x.clone()
    x[torch.tensor([1, 0])] = y
    return x


CALLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cat": lambda x, y: torch.cat([x, y, x, MASK]),
    "stack": lambda x, y: torch.stack([x, y], 1),
    "hstack": lambda x, y: torch.hstack([x, y]),
    "block_diag": lambda x, y: torch.block_diag(x, y),
    "where": lambda x, y: torch.where(MASK, x, y),
    "where of a scalar": lambda x, y: torch.where(MASK, x, y[0, 0]),
    "where of its condition": lambda x, y: torch.where(MASK, x, MASK),
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "pow": torch.pow,
    "ldexp": torch.ldexp,
    "index_fill": lambda x, y: x.index_fill(0, torch.tensor([1]), y[0, 0]),
    "index_put": lambda x, y: set_rows(x, y.to(x.dtype)),
}


class Pairs(nn.Module):
    """One call for every ordered pair of dtypes that eager torch takes."""

    def __init__(self, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
        return [self.call(x[i], y[j]) for i, j in list_pairs(self.call, x, y)]


def list_pairs(
    call: Callable[[Tensor, Tensor], Tensor], x: list[Tensor], y: list[Tensor]
) -> Iterator[tuple[int, int]]:
    for i, j in permutations(range(len(DTYPES)), 2):
        try:
            call(torch.ones((2, 3), dtype=x[i].dtype), torch.ones((2, 3), dtype=y[j].dtype))
        except RuntimeError:
            continue
        yield i, j


@pytest.mark.parametrize("name", CALLS)
def test_mixed_dtypes(name: str) -> None:
    x = [torch.tensor([[1.5, 2, 3], [4, 2, 1]]).to(dtype) for dtype in DTYPES]
    y = [torch.tensor([[2, 1.5, 1], [3, 2, 5]]).to(dtype) for dtype in DTYPES]
    model = Pairs(CALLS[name])
    lowered = lower(model, x, y)
    assert lowered.fallbacks() == []
    expected = run_eagerly(model, x, y)
    assert len(expected) >= 2
    assert_close(lowered.start()(x, y), expected)
