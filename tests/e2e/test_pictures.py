"""Pictures of bytes, as a camera gives them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from tests.e2e.lowering import lower, run_eagerly

MODES = ("bilinear", "bicubic", "nearest", "nearest-exact")


class Resized(nn.Module):
    def __init__(self, **flags: Any) -> None:
        super().__init__()
        self.flags = flags

    def forward(self, picture: Tensor) -> Tensor:
        return functional.interpolate(picture, **self.flags)


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("mode", "antialias"), [*((m, False) for m in MODES), ("bilinear", True), ("bicubic", True)]
)
def test_every_pixel_is_torch_s(mode: str, antialias: bool, layout: torch.memory_format) -> None:
    for size in ((11, 30), (75, 64)):
        model = Resized(size=size, mode=mode, antialias=antialias)
        picture = draw(2, 3, 47, 64).contiguous(memory_format=layout)
        lowered = lower(model, picture)
        assert (len(lowered.delegates()), lowered.fallbacks()) == (1, [])
        (actual,) = lowered.start()(picture)
        (expected,) = run_eagerly(model, picture)
        assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    "flags", [{"size": (9, 14)}, {"scale_factor": 2.0}, {"scale_factor": 1.5}], ids=str
)
@pytest.mark.parametrize("mode", MODES)
def test_sizes_that_export_never_saw(mode: str, flags: dict[str, Any]) -> None:
    model = Resized(mode=mode, **flags)
    sizes = {2: Dim("height", min=2, max=64), 3: Dim("width", min=2, max=64)}
    lowered = lower(model, draw(1, 3, 20, 31), dynamic_shapes=(sizes,))
    assert (len(lowered.delegates()), lowered.fallbacks()) == (1, [])
    run = lowered.start()
    for shape in ((20, 31), (9, 14), (2, 64), (37, 5)):
        picture = draw(1, 3, *shape)
        (actual,) = run(picture)
        (expected,) = run_eagerly(model, picture)
        assert torch.equal(actual, expected)
