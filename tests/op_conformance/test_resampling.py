"""Bytes resized at many sizes: each pixel as torch's CPU kernels give it."""

import random
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from torch.nn import functional

from mlx_coverage.registry.ops import resampling
from mlx_coverage.registry.ops.resampling import keys, resample, tent

SIZES = 200
FACTORS = (0.3, 0.5, 1.0, 1.7, 2.0, 2**0.5, 3.0)


def draw_image(source: random.Random, largest: int) -> torch.Tensor:
    """Bytes, or black and white alone, of a kernel for up to four channels or one for more."""
    shape = (1, source.choice((1, 3, 5)), *(source.randint(1, largest) for _ in range(2)))
    generator = torch.Generator().manual_seed(source.randrange(2**32))
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return image if source.randrange(3) else (image > 127).to(torch.uint8) * 255


def check(source: random.Random, mode: str, antialias: bool, largest: int, factors: Any) -> None:
    image = draw_image(source, largest)
    flags: dict[str, Any] = {"mode": mode, "antialias": antialias}
    factor = source.choice(factors) if source.randrange(3) == 0 else None
    if factor is None:
        # One column of five channels repeats a row in torch (docs/findings).
        size = (source.randint(1, largest), source.randint(2, largest))
        flags |= {"size": size, "align_corners": source.randrange(3) == 0}
    else:
        size = tuple(int(n * factor) for n in image.shape[2:])
        flags |= {"scale_factor": factor}
        if size[0] < 1 or size[1] < 2:
            return
    if source.randrange(2):
        image = image.contiguous(memory_format=torch.channels_last)
    expected = functional.interpolate(image, **flags)
    kernel = tent if mode == "bilinear" else partial(keys, a=-0.5 if antialias else -0.75)
    actual = mx.array(image.numpy())
    for axis in (3, 2):
        options = (size[axis - 2], factor, flags.get("align_corners", False))
        actual = resample(actual, axis, *options, kernel, 1 + (mode == "bicubic"), antialias)
    torch.testing.assert_close(
        *(torch.from_numpy(np.array(actual)), expected.contiguous()),
        rtol=0, atol=0, msg=lambda m: f"{tuple(image.shape)}, {flags}: {m}",
    )  # fmt: skip


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_sizes_that_are_known(mode: str, antialias: bool) -> None:
    source = random.Random(0)
    for _ in range(SIZES):
        check(source, mode, antialias, 40, FACTORS)
    for _ in range(4):
        check(source, mode, antialias, 900, FACTORS)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_weights_in_integers(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of dynamic sizes, which these tests of eager MLX have none of.
    monkeypatch.setattr(resampling, "_is_known", lambda *sizes: False)
    source = random.Random(1)
    for _ in range(SIZES):
        check(source, mode, False, 40, (1.0, 2.0, 3.0))
    for _ in range(4):
        check(source, mode, False, 3000, (1.0,))
