"""Each generator of `mlx_coverage.registry.samples` as a Hypothesis strategy.

`draw_argument` dispatches on the class of the generator; one that it does not know
raises, so that the vocabulary cannot grow without its interpretation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st

from mlx_coverage.registry import samples
from mlx_coverage.registry.dtypes import ANY, COMPLEX
from mlx_coverage.registry.samples import list_names
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.domain import DTYPES, ORDER, Domain
from tests.op_conformance.values import (
    BOOLEANS,
    Bounds,
    draw_elements,
    draw_layout,
    integers,
    one_of,
)

DEFAULT_SIZES = (0, 4)
DEFAULT_GROUPS = (0, 4)


@dataclass
class Drawing:
    """One case being drawn: named dimensions and arguments so far."""

    draw: Callable[..., Any]
    spec: OpSpec
    domain: Domain
    dtype: torch.dtype | None
    avoids: frozenset[str] = frozenset()
    favours: str | None = None
    empty: bool = False  # whether dimensions may be 0
    sizes: dict[str, int] = field(default_factory=dict)
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)

    @property
    def plan(self) -> samples.Samples:
        """The entry's samples."""
        assert self.spec.samples is not None
        return self.spec.samples

    def argument(self, name: str) -> Any:
        """The value of an argument, drawn now if it was not yet."""
        if name not in self.values:
            self.values[name] = draw_argument(self.plan.arguments[name], name, self)
        return self.values[name]

    def size(self, name: str) -> int:
        """The size of a named dimension."""
        if name not in self.sizes:
            low, high = self.plan.sizes.get(name, DEFAULT_SIZES)
            self.sizes[name] = self._draw_size(name, low, high, self._is_filled(name))
        return self.sizes[name]

    def group(self, name: str) -> tuple[int, ...]:
        """The sizes of a starred name."""
        if name not in self.groups:
            low, high = self._bound_group(name)
            if low > high:
                raise ValueError(f"{self.spec.name}: rules leave {name} no number of dimensions")
            rank = self.draw(integers(low, high), label=f"rank of {name}")
            bounds = self.plan.sizes.get(name, DEFAULT_SIZES)
            sizes = [
                self._draw_size(f"{name}[{i}]", *bounds, self._is_filled(name)) for i in range(rank)
            ]
            if sizes and name not in self.plan.sizes and math.prod(sizes) < 30:
                # Long enough for vectorised kernels and their remainders.
                long = one_of((None, None, None, None, 7, 17, 33))
                sizes[-1] = self.draw(long, label=f"long {name}") or sizes[-1]
            self.groups[name] = tuple(sizes)
        return self.groups[name]

    def shape(self, dims: tuple[str | int, ...]) -> tuple[int, ...]:
        """The sizes of named dimensions, numbers and expressions of names."""
        shape: list[int] = []
        for dim in dims:
            if isinstance(dim, int):
                shape.append(dim)
            elif dim.startswith("*"):
                shape.extend(self.group(dim))
            else:
                shape.append(self.evaluate(dim))
        if any(size < 0 for size in shape):
            reject()
        return tuple(shape)

    def evaluate(self, expression: str) -> int:
        """A dimension's name, or Python arithmetic on names."""
        sizes = {name: self.size(name) for name in list_names(expression)}
        try:
            return samples.evaluate(expression, sizes)
        except ZeroDivisionError:
            reject()

    def dtype_of(self, name: str, names: tuple[str, ...] | None) -> torch.dtype:
        """The dtype of a tensor argument."""
        if name in self.dtypes and not isinstance(self.plan.arguments[name], samples.TensorList):
            return self.dtypes[name]  # drawn ahead; the tensors of a list may differ
        accepted = self.domain.dtypes.get(name, ANY | {torch.complex64, torch.float64})
        if names is not None:
            given = [self.dtype if n == "case" else DTYPES[n] for n in names]
            choices = [dtype for dtype in given if dtype in accepted]
        elif self._may_mix(name):
            # Promotion: mostly the case's dtype, sometimes any other.
            others = [dtype for dtype in ORDER if dtype in accepted & (ANY | COMPLEX)]
            first = [self.dtype] if self.dtype in accepted else others
            choices = [*first * len(others), *others]
        else:
            choices = (
                [self.dtype] if self.dtype in accepted else [d for d in ORDER if d in accepted]
            )
        if not choices:
            raise ValueError(f"{self.spec.name}: no dtype of `{name}` is inside its rules")
        alike = [g for g in self.domain.alike if name in g]
        for other in (other for group in alike for other in group if other in self.dtypes):
            choices = [dtype for dtype in choices if dtype == self.dtypes[other]] or choices
        if len(set(choices)) == 1:
            chosen = choices[0]
        else:
            chosen = self.draw(one_of(tuple(choices)), label=f"{name} dtype")
        self.dtypes.setdefault(name, chosen)
        return chosen

    def bounds(self, low: float | None, high: float | None) -> Bounds:
        """Bounds of values, less what the entry's limitations leave out."""
        return Bounds(low, high, self.avoids, self.favours)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor argument, or of the first tensor of a list."""
        generator = self.plan.arguments.get(name)
        if isinstance(generator, samples.TensorList) and name not in self.values:
            return self.shape(generator.dims)
        value = self.argument(name)
        value = value[0] if isinstance(value, (list, tuple)) else value
        return tuple(value.shape)

    def _may_mix(self, name: str) -> bool:
        return (
            self.spec.promotion is not None
            and name in self.domain.dtypes
            and bool(self.dtypes)
            and not any(name in group for group in self.domain.alike)
        )

    def _draw_size(self, label: str, low: int, high: int, filled: bool) -> int:
        if filled or not self.empty:
            low = min(max(low, 1), max(high, low))
        if low == high:
            return low
        return self.draw(integers(low, high), label=f"size {label}")

    def _is_filled(self, name: str) -> bool:
        tensors = [self.plan.arguments.get(argument) for argument in self.domain.filled]
        dims = [dim for tensor in tensors for dim in getattr(tensor, "dims", ())]
        return any(name in ([dim] if dim == name else list_names(dim)) for dim in dims)

    def _bound_group(self, name: str) -> tuple[int, int]:
        bounds = self.plan.groups.get(name, DEFAULT_GROUPS)
        if isinstance(bounds, str):
            return len(self.group(bounds)), len(self.group(bounds))
        low, high = bounds
        for argument, (least, most) in self.domain.ranks.items():
            generator = self.plan.arguments.get(argument)
            dims = getattr(generator, "dims", ())
            if name not in dims:
                continue
            others = [dim for dim in dims if isinstance(dim, str) and dim.startswith("*")]
            taken = len(dims) - len(others)
            taken += sum(len(self.groups.get(dim, ())) for dim in others if dim != name)
            low = max(low, least - taken)
            if not isinstance(generator, samples.BroadcastTensor):
                high = min(high, most - taken)
        return low, max(low, high)


@singledispatch
def draw_argument(generator: Any, name: str, drawing: Drawing) -> Any:
    """Draw the argument `name`.

    Raises:
        TypeError: the generator is not of the vocabulary.
    """
    raise TypeError(f"{drawing.spec.name}: conformance cannot interpret {generator!r} of `{name}`")


@draw_argument.register
def _(generator: samples.Tensor, name: str, drawing: Drawing) -> Any:
    if generator.optional and _draw_none(name, drawing):
        return None
    shape = drawing.shape(generator.dims)
    dtype = drawing.dtype_of(name, generator.dtype)
    if generator.below is not None:
        size = _named_size(generator.below, drawing)
        return _draw_index(name, shape, dtype, size, generator.negative, generator.unique, drawing)
    bounds = drawing.bounds(generator.low, generator.high)
    elements = draw_elements(drawing.draw, name, shape, dtype, bounds)
    if generator.sorted:
        elements = elements.sort(-1).values
    if generator.matrix is not None:
        elements = make_matrices(elements, generator.matrix)
    return draw_layout(drawing.draw, name, elements)


def make_matrices(elements: torch.Tensor, kind: str) -> torch.Tensor:
    """Square matrices of a kind of `samples.Tensor.matrix`, made of elements."""
    identity = torch.eye(elements.shape[-1], dtype=elements.dtype)
    if kind == "definite":
        return elements @ elements.mT + identity
    # The diagonal outweighs its rows, which are moved so that LAPACK exchanges them.
    largest = elements.abs().sum(-1).amax(-1)[..., None, None] + 1
    return (elements + largest * identity).roll(1, -2)


@draw_argument.register
def _(generator: samples.BroadcastTensor, name: str, drawing: Drawing) -> Any:
    if generator.optional and _draw_none(name, drawing):
        return None
    return _draw_broadcast(drawing.shape(generator.dims), generator, name, drawing)


@draw_argument.register
def _(generator: samples.IndexedTensor, name: str, drawing: Drawing) -> Any:
    operand, indices = drawing.argument(generator.of), drawing.argument(generator.indices)
    full = tuple(torch.ops.aten.index(operand, indices).shape)
    return _draw_broadcast(full, samples.BroadcastTensor(()), name, drawing)


def _draw_broadcast(
    full: tuple[int, ...], generator: samples.BroadcastTensor, name: str, drawing: Drawing
) -> torch.Tensor:
    """A tensor of some trailing dims of `full`, some of them 1."""
    least, most = drawing.domain.ranks.get(name, (0, 99))
    fewest, largest = max(0, len(full) - most), max(0, len(full) - least)
    missing = drawing.draw(
        one_of((fewest,) * 2 + tuple(range(fewest, largest + 1))), label=f"{name} missing dims"
    )
    kept = full[missing:]
    ones = drawing.draw(
        one_of((0,) * 2 ** len(kept) + tuple(range(2 ** len(kept)))), label=f"{name} dims of 1"
    )
    shape = tuple(1 if ones >> i & 1 else size for i, size in enumerate(kept))
    dtype = drawing.dtype_of(name, generator.dtype)
    bounds = drawing.bounds(generator.low, generator.high)
    return draw_layout(drawing.draw, name, draw_elements(drawing.draw, name, shape, dtype, bounds))


@draw_argument.register
def _(generator: samples.TensorList, name: str, drawing: Drawing) -> Any:
    shape = drawing.shape(generator.dims)
    count = drawing.draw(integers(generator.least, generator.most), label=f"length of {name}")
    axis = drawing.argument(generator.along) if generator.along is not None else None
    tensors = []
    for i in range(count):
        sizes = list(shape)
        if axis is not None and i and sizes:
            low = 0 if drawing.empty and name not in drawing.domain.filled else 1
            sizes[axis] = drawing.draw(integers(low, 4), label=f"{name}[{i}] size {axis}")
        dtype = drawing.dtype_of(name, getattr(generator, "dtype", None))
        elements = draw_elements(
            drawing.draw, f"{name}[{i}]", tuple(sizes), dtype, drawing.bounds(None, None)
        )
        tensors.append(draw_layout(drawing.draw, f"{name}[{i}]", elements))
    return tensors


@draw_argument.register
def _(generator: samples.IndexList, name: str, drawing: Drawing) -> Any:
    sizes = drawing.shape_of(generator.of)
    if not sizes:
        reject()
    if generator.masks and drawing.draw(one_of((False, False, True)), label=f"{name} is a mask"):
        last = drawing.draw(integers(1, len(sizes)), label=f"{name} end")
        first = drawing.draw(integers(0, last - 1), label=f"{name} start")
        free = drawing.bounds(None, None)
        mask = draw_elements(drawing.draw, name, sizes[first:last], torch.bool, free)
        return [*[None] * first, mask]
    ranks = drawing.draw(integers(1, len(sizes)), label=f"length of {name}")
    shape = drawing.draw(
        st.lists(integers(1, 3), min_size=0, max_size=2).map(tuple), label=f"{name} shape"
    )
    indices: list[torch.Tensor | None] = []
    first = True
    for axis in range(ranks):
        given = drawing.draw(BOOLEANS, label=f"{name}[{axis}] given")
        if not given and not (first and axis == ranks - 1):
            indices.append(None)
            continue
        own = shape
        if not first:
            ones = drawing.draw(integers(0, 2 ** len(shape) - 1), label=f"{name}[{axis}] ones")
            own = tuple(1 if ones >> i & 1 else size for i, size in enumerate(shape))
        dtype = torch.int64
        unique = generator.unique and first
        label = f"{name}[{axis}]"
        if unique and math.prod(own) > sizes[axis]:
            reject()
        indices.append(_draw_index(label, own, dtype, sizes[axis], True, False, drawing, unique))
        first = False
    return indices


@draw_argument.register
def _(generator: samples.Offsets, name: str, drawing: Drawing) -> Any:
    count, size = drawing.evaluate(generator.count), drawing.evaluate(generator.size)
    places = sorted(drawing.draw(integers(0, size), label=f"{name}[{i}]") for i in range(count))
    first, last = (
        drawing.argument(flag) if isinstance(flag, str) else flag
        for flag in (generator.first, generator.last)
    )
    if places and first:
        places[0] = 0
    if places and last:
        places[-1] = size
    dtype = drawing.dtypes[generator.like] if generator.like else torch.int32
    return torch.tensor(places, dtype=dtype)


@draw_argument.register
def _(generator: samples.Dim, name: str, drawing: Drawing) -> Any:
    if generator.optional and _draw_none(name, drawing):
        return None
    rank = len(drawing.shape_of(generator.of)) + generator.extra
    low, high = -max(rank, 1), max(rank, 1) - 1
    low, high = _narrow(low, high, name, drawing)
    return drawing.draw(integers(low, high), label=name)


@draw_argument.register
def _(generator: samples.Dims, name: str, drawing: Drawing) -> Any:
    if generator.optional and _draw_none(name, drawing):
        return None
    rank = len(drawing.shape_of(generator.of))
    if rank < generator.least:
        reject()
    order = drawing.draw(st.permutations(range(rank)), label=f"{name} axes")
    count = drawing.draw(integers(generator.least, rank), label=f"{name} count")
    return [_draw_sign(axis, rank, name, drawing) for axis in order[:count]]


@draw_argument.register
def _(generator: samples.Permutation, name: str, drawing: Drawing) -> Any:
    rank = len(drawing.shape_of(generator.of))
    order = drawing.draw(st.permutations(range(rank)), label=name)
    return [_draw_sign(axis, rank, name, drawing) for axis in order]


@draw_argument.register
def _(generator: samples.Reshape, name: str, drawing: Drawing) -> Any:
    shape = drawing.shape_of(generator.of)
    count = math.prod(shape)
    if count == 0:
        return drawing.draw(st.permutations([*shape, 1]), label=name)
    sizes = []
    left = count
    for i in range(drawing.draw(integers(0, 3), label=f"{name} factors")):
        divisors = [d for d in range(1, left + 1) if left % d == 0]
        sizes.append(drawing.draw(one_of(tuple(divisors)), label=f"{name}[{i}]"))
        left //= sizes[-1]
    if left != 1 or drawing.draw(BOOLEANS, label=f"{name} last"):
        sizes.append(left)
    if sizes and drawing.draw(BOOLEANS, label=f"{name} inferred"):
        position = drawing.draw(integers(0, len(sizes) - 1), label=f"{name} inferred axis")
        sizes[position] = -1
    return sizes


@draw_argument.register
def _(generator: samples.Expand, name: str, drawing: Drawing) -> Any:
    shape = drawing.shape_of(generator.of)
    extra = drawing.draw(st.lists(integers(1, 3), max_size=2), label=f"{name} leading")
    sizes = list(extra)
    for i, size in enumerate(shape):
        kept = drawing.draw(one_of((size, -1)), label=f"{name}[{i}]")
        if size == 1:
            kept = drawing.draw(one_of((1, -1, 3, 0)), label=f"{name}[{i}] to")
        sizes.append(kept)
    return sizes


@draw_argument.register
def _(generator: samples.Sizes, name: str, drawing: Drawing) -> Any:
    length = generator.count
    if isinstance(length, str):
        named = drawing.group if length.startswith("*") else drawing.shape_of
        length = len(named(length))
    low, high = _narrow(generator.low, generator.high, name, drawing)
    return [drawing.draw(integers(low, high), label=f"{name}[{i}]") for i in range(length)]


@draw_argument.register
def _(generator: samples.Shape, name: str, drawing: Drawing) -> Any:
    return list(drawing.shape(generator.dims))


@draw_argument.register
def _(generator: samples.Size, name: str, drawing: Drawing) -> Any:
    return drawing.evaluate(generator.dim)


@draw_argument.register
def _(generator: samples.SplitSizes, name: str, drawing: Drawing) -> Any:
    shape = drawing.shape_of(generator.of)
    if not shape:
        reject()
    left = shape[drawing.argument(generator.dim)]
    sizes = []
    while left:
        sizes.append(drawing.draw(integers(0 if len(sizes) < 3 else left, left), label=name))
        left -= sizes[-1]
    return sizes or [0]


@draw_argument.register
def _(generator: samples.IndexInto, name: str, drawing: Drawing) -> Any:
    if generator.optional and _draw_none(name, drawing):
        return None
    shape = drawing.shape_of(generator.of)
    if not shape:
        reject()
    size = shape[drawing.argument(generator.dim)]
    low, high = -size - generator.beyond, size - 1 + generator.beyond
    if low > high:
        reject()
    return drawing.draw(integers(low, high), label=name)


@draw_argument.register
def _(generator: samples.Choice, name: str, drawing: Drawing) -> Any:
    values = list(generator.values)
    if name in drawing.domain.choices:
        values = [v for v in values if any(v is c or v == c for c in drawing.domain.choices[name])]
    value = values[0] if len(values) == 1 else drawing.draw(st.sampled_from(values), label=name)
    # Samples import no torch: a dtype may be given by its name.
    return list(value) if isinstance(value, tuple) else value


@draw_argument.register
def _(generator: samples.Integer, name: str, drawing: Drawing) -> Any:
    low, high = _narrow(generator.low, generator.high, name, drawing)
    return drawing.draw(integers(low, high), label=name)


@draw_argument.register
def _(generator: samples.Number, name: str, drawing: Drawing) -> Any:
    if generator.optional and _draw_none(name, drawing):
        return None
    low, high = generator.low, generator.high
    least, most = drawing.domain.ranges.get(name, (None, None))
    low = least if low is None else max(low, least) if least is not None else low
    high = most if high is None else min(high, most) if most is not None else high
    strategies = [_number(kind, low, high, drawing) for kind in _list_categories(drawing)]
    return drawing.draw(st.one_of(strategies), label=name)


def _list_categories(drawing: Drawing) -> list[type]:
    # The category of `self` decides; a wider one needs promotion, a narrower one is free.
    dtype = drawing.dtype or torch.float32
    if dtype.is_complex:
        return [float, int, complex]
    if dtype.is_floating_point:
        return [float, float, int]
    widened = drawing.spec.promotion is not None
    if dtype == torch.bool:
        return [bool, int, float] if widened else [bool]
    return [int, int, float, bool] if widened else [int]


def _number(
    kind: type, low: float | None, high: float | None, drawing: Drawing
) -> st.SearchStrategy[Any]:
    if kind is bool:
        return BOOLEANS
    bounds = drawing.bounds(low, high)
    floor = -8 if low is None else low
    ceiling = 8 if high is None else high
    if kind is int:
        least = math.ceil(floor if low is not None else min(floor, ceiling))
        most = math.floor(ceiling if high is not None else max(floor, ceiling))
        return integers(least, most) if least <= most else st.just(ceiling)
    if not bounds.free:
        floor, ceiling = min(floor, ceiling), max(floor, ceiling)
        return st.floats(floor, ceiling, allow_subnormal=False)
    special = {"inf": [math.inf, -math.inf], "nan": [math.nan], "negative_zero": [-0.0]}
    awkward = [v for name, group in special.items() if name not in bounds.avoids for v in group]
    plain = st.floats(-8, 8, width=16, allow_subnormal=False)
    if kind is complex:  # fx writes NaN and infinities of complex numbers as names
        return st.builds(complex, plain, plain)
    return st.one_of(plain, plain, st.sampled_from([0.0, 1.0, *awkward]))


def _draw_none(name: str, drawing: Drawing) -> bool:
    return bool(drawing.draw(BOOLEANS, label=f"{name} is None"))


def _draw_sign(axis: int, rank: int, name: str, drawing: Drawing) -> int:
    return axis - rank if drawing.draw(BOOLEANS, label=f"{name} negative") else axis


def _narrow(low: int, high: int, name: str, drawing: Drawing) -> tuple[int, int]:
    least, most = drawing.domain.ranges.get(name, (None, None))
    low = low if least is None else max(low, math.ceil(least))
    high = high if most is None else min(high, math.floor(most))
    if low > high:
        reject()
    return low, high


def _named_size(name: str, drawing: Drawing) -> int:
    return drawing.evaluate(name)


def _draw_index(
    name: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    size: int,
    negative: bool,
    unique: bool,
    drawing: Drawing,
    unique_overall: bool = False,
) -> torch.Tensor:
    """Integers below `size`, perhaps without repetition along the last axis or overall."""
    import numpy as np

    count = math.prod(shape)
    if count and not size:
        reject()
    seed = drawing.draw(integers(0, 999), label=f"{name} seed")
    generator = np.random.default_rng(seed)
    if unique_overall:
        values = generator.permutation(size)[:count]
    elif unique and shape:
        if shape[-1] > size:
            reject()
        rows = [generator.permutation(size)[: shape[-1]] for _ in range(math.prod(shape[:-1]))]
        values = np.concatenate(rows) if rows else np.zeros(0)
    elif seed == 0:
        values = np.arange(count) % max(size, 1)
    else:
        values = generator.integers(0, max(size, 1), count)
    if negative:
        values = np.where(generator.integers(0, 2, count) == 1, values - size, values)
    tensor = torch.from_numpy(np.asarray(values, np.int64)).to(dtype).reshape(shape)
    return draw_layout(drawing.draw, name, tensor)
