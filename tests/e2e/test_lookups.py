"""Parts at places that a tensor of no dimensions holds: `x[i]`."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.lowering import lower

CALLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x[i]": lambda x, i: x[i] * 2,
    "x[:, i]": lambda x, i: x[:, i] * 2,
    "x[..., i]": lambda x, i: x[..., i] * 2,
    "x[i, i - 1]": lambda x, i: x[i, i - 1] * 2,
    "x[i, 1:]": lambda x, i: x[i, 1:] * 2,
    "x[-i]": lambda x, i: x[-i] * 2,
    "x[i.item() - 1]": lambda x, i: x[i.item() - 1] * 2,
    "x[argmin + i]": lambda x, i: x[x.sum(1).argmin() + i] * 2,
    "index_put": lambda x, i: x.index_put((i,), x[0]),
    "select_scatter": lambda x, i: x.select_scatter(x[0] + 1, 1, i.item()),
}


class Apply(nn.Module):
    def __init__(self, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor, i: Tensor) -> Tensor:
        return self.call(x, i)


@pytest.mark.parametrize("name", CALLS)
def test_parts_at_a_place_in_a_tensor(name: str) -> None:
    x = torch.arange(25.0).reshape(5, 5)
    lowered = lower(Apply(CALLS[name]), x, torch.tensor(2))
    assert lowered.fallbacks() == []
    assert len(lowered.delegates()) == 1
    running = lowered.start()
    for place in (2, 1, -1):
        (found,) = running(x, torch.tensor(place))
        assert torch.equal(found, CALLS[name](x, torch.tensor(place)))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int8])
def test_place_of_another_dtype(dtype: torch.dtype) -> None:
    x, i = torch.arange(25.0).reshape(5, 5), torch.tensor(3, dtype=dtype)
    lowered = lower(Apply(CALLS["x[i]"]), x, i)
    assert lowered.fallbacks() == []
    assert torch.equal(lowered.start()(x, i)[0], x[3] * 2)


def test_place_beyond_the_end_is_an_error() -> None:
    x = torch.arange(25.0).reshape(5, 5)
    running = lower(Apply(CALLS["x[i]"]), x, torch.tensor(2)).start()
    with pytest.raises(RuntimeError):
        running(x, torch.tensor(5))
