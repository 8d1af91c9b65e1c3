"""The elements of a tensor and its memory layout, as strategies that shrink.

A tensor's elements come from a *kind* and a seed rather than one draw per element:
that is quick, dense in awkward values, and shrinks to the kind that is easiest to
read (`ramp`: 1, 2, 3) and to the smallest seed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

Draw = Callable[..., Any]

FLOAT_KINDS = ("ramp", "normal", "small", "special", "wide", "normal", "special")
TAME_KINDS = tuple(kind for kind in FLOAT_KINDS if kind != "wide")
EXACT_KINDS = ("ramp", "small")
INTEGER_KINDS = ("ramp", "small", "wide", "special")
TAME_INTEGER_KINDS = ("ramp", "small")
FAVOURED_KINDS = {
    "overflow": ("wide", "normal", "special"),
    **dict.fromkeys(
        ("nan", "inf", "negative_zero", "subnormal"), ("special", "normal", "small", "ramp")
    ),
}
BOOL_KINDS = ("false", "true", "mixed", "mixed")
LAYOUTS = (
    *["contiguous"] * 5,
    "contiguous",
    "transposed",
    "strided",
    "offset",
    "expanded",
    "channels_last",
)

# Building a strategy costs more than drawing from it.
integers = cache(st.integers)
one_of = cache(st.sampled_from)
BOOLEANS = st.booleans()  # one_of((False, True)) and one_of((0, 1)) would share a cache entry

# Value classes that a `Limitation` may leave out of the domain.
# `rounding` is what ordinary fractions suffer: without it all elements are small integers.
# `overflow` is what the squares or sums of huge elements suffer: without it there are none.
AVOIDABLE = ("nan", "inf", "negative_zero", "subnormal", "zero_size", "rounding", "overflow")


@dataclass(frozen=True)
class Bounds:
    """What the elements may be: `low` to `high`, None open, less the value classes of `avoids`.

    `favours` is a value class of which there should be many.
    """

    low: float | None = None
    high: float | None = None
    avoids: frozenset[str] = frozenset()
    favours: str | None = None

    @property
    def free(self) -> bool:
        """Whether no bound is given, so that NaN and infinities are inside."""
        return self.low is None and self.high is None


def list_specials(dtype: torch.dtype, bounds: Bounds) -> list[float]:
    """The awkward values of a floating-point dtype inside the bounds."""
    info = torch.finfo(dtype)
    subnormal = info.smallest_normal * 0.5
    classes = {
        "nan": [math.nan],
        "inf": [math.inf, -math.inf],
        "negative_zero": [-0.0],
        "subnormal": [subnormal, -subnormal, info.smallest_normal * info.eps],
    }
    if bounds.favours == "overflow":
        classes["overflow"] = [info.max, -info.max, info.max / 2]
    values = [0.0, 1.0, -1.0, 0.5, -2.5, info.smallest_normal]
    for name, members in classes.items():
        if name not in bounds.avoids and bounds.favours in (None, name):
            values += members
    return [value for value in values if _is_inside(value, bounds)]


def _is_inside(value: float, bounds: Bounds) -> bool:
    if bounds.free:
        return True
    low = -math.inf if bounds.low is None else bounds.low
    high = math.inf if bounds.high is None else bounds.high
    return math.isfinite(value) and low <= value <= high


def draw_elements(
    draw: Draw, label: str, shape: tuple[int, ...], dtype: torch.dtype, bounds: Bounds
) -> torch.Tensor:
    """Draw a contiguous tensor of the shape and dtype."""
    fractional = dtype.is_floating_point or dtype.is_complex
    kinds = FAVOURED_KINDS.get(bounds.favours) or (
        EXACT_KINDS if fractional and "rounding" in bounds.avoids
        else TAME_KINDS if fractional and "overflow" in bounds.avoids
        else FLOAT_KINDS if fractional
        else TAME_INTEGER_KINDS if "overflow" in bounds.avoids
        else INTEGER_KINDS
    )  # fmt: skip
    kinds = BOOL_KINDS if dtype == torch.bool else kinds
    kind = draw(one_of(kinds), label=f"{label} kind")
    seed = draw(integers(0, 999), label=f"{label} seed")
    generator = np.random.default_rng(seed)
    count = math.prod(shape)
    if dtype == torch.bool:
        array = {
            "false": np.zeros(count, bool),
            "true": np.ones(count, bool),
            "mixed": generator.integers(0, 2, count).astype(bool),
        }[kind]
        return torch.from_numpy(array).reshape(shape)
    if dtype.is_complex:
        part = torch.float64 if dtype == torch.complex128 else torch.float32
        halves = [_fill_float(kind, count, part, bounds, generator) for _ in range(2)]
        return torch.complex(*halves).reshape(shape)
    if not dtype.is_floating_point:
        return _fill_integer(kind, count, dtype, bounds, generator).reshape(shape)
    elements = _fill_float(kind, count, dtype, bounds, generator)
    if kind == "normal" and count and bounds.free:
        # One extreme among ordinary values: extremes in pairs cancel in any order they like.
        largest = () if "overflow" in bounds.avoids else (torch.finfo(dtype).max,)
        extremes = (None, *largest, *list_specials(dtype, bounds))
        extreme = draw(one_of(extremes), label=f"{label} extreme")
        if extreme is not None:
            elements[seed % count] = extreme
    return elements.reshape(shape)


def _fill_float(
    kind: str, count: int, dtype: torch.dtype, bounds: Bounds, generator: np.random.Generator
) -> torch.Tensor:
    if not bounds.free:
        array = _fill_between(kind, count, bounds, generator)
    elif kind == "ramp":
        array = np.arange(1.0, count + 1)
    elif kind == "normal":
        array = generator.normal(0, 2, count)
    elif kind == "small":
        array = generator.integers(-3, 4, count).astype(float)
    elif kind == "wide":
        # The square of any value, and so most products, stay finite.
        reach = math.log2(torch.finfo(dtype).max) / 2 - 2
        array = generator.choice([-1.0, 1.0], count) * 2 ** generator.uniform(-reach, reach, count)
    else:
        array = generator.choice(list_specials(dtype, bounds), count)
    if "negative_zero" in bounds.avoids:
        array = array + 0.0
    result = torch.from_numpy(np.asarray(array, np.float64)).to(dtype)
    if not bounds.free:
        # Rounding to a short dtype must not leave the bounds.
        result = result.clamp(bounds.low, bounds.high)
    return result


def _fill_between(
    kind: str, count: int, bounds: Bounds, generator: np.random.Generator
) -> np.ndarray:
    low = bounds.low if bounds.low is not None else min(-8.0, bounds.high - 8.0)
    high = bounds.high if bounds.high is not None else max(8.0, low + 8.0)
    if kind == "special":
        return generator.choice([low, high, (low + high) / 2], count)
    if kind == "ramp":
        return np.linspace(low, high, count) if count > 1 else np.full(count, high)
    array = generator.uniform(low, high, count)
    return np.clip(np.round(array), low, high) if kind == "small" else array


def _fill_integer(
    kind: str, count: int, dtype: torch.dtype, bounds: Bounds, generator: np.random.Generator
) -> torch.Tensor:
    info = torch.iinfo(dtype)
    low = info.min if bounds.low is None else max(info.min, math.ceil(bounds.low))
    high = info.max if bounds.high is None else min(info.max, math.floor(bounds.high))
    if kind == "ramp":
        first = min(max(1, low), high)
        array = first + np.arange(count) % (min(high - first, 100) + 1)
    elif kind == "small":
        array = generator.integers(max(low, -4), min(high, 4), count, endpoint=True)
    elif kind == "wide":
        array = generator.integers(low, high, count, dtype=np.int64, endpoint=True)
    else:
        pool = [v for v in (0, 1, -1, 2, info.min, info.max, low, high) if low <= v <= high]
        array = generator.choice(np.array(pool, np.int64), count)
    return torch.from_numpy(np.asarray(array, np.int64)).to(dtype)


def draw_layout(
    draw: Draw, label: str, tensor: torch.Tensor, like: str | None = None
) -> torch.Tensor:
    """Draw how the tensor lies in memory; `expanded` repeats one of its slices."""
    layout = like or draw(one_of(LAYOUTS), label=f"{label} layout")
    return arrange(tensor, layout)


def arrange(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The tensor in a layout; as it is where the layout does not apply."""
    rank = tensor.dim()
    if layout == "transposed" and rank > 1:
        axes = tuple(range(rank))[::-1]
        return tensor.permute(axes).contiguous().permute(axes)
    if layout == "strided" and rank > 0:
        # What lies between the elements must not be read: fill it with other values.
        gaps = torch.ones_like(tensor)
        return torch.stack([tensor, gaps], -1).flatten(-2)[..., ::2]
    if layout == "offset":
        flat = torch.cat([torch.ones(1, dtype=tensor.dtype), tensor.reshape(-1)])
        return flat[1:].view(tensor.shape)
    if layout == "expanded":
        axis = next((i for i, size in enumerate(tensor.shape) if size > 1), None)
        if axis is not None:
            return tensor.narrow(axis, 0, 1).contiguous().expand(tensor.shape)
    if layout == "channels_last" and rank == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
