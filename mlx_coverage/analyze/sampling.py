"""Inputs beside the example that a program accepts: other values, and other sizes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.pinning import list_inputs
from mlx_coverage.lowering.witnesses import Witnesses

# A size is tried where no tensor of the program has more elements, and all together no more,
# unless the example's are near that: attention is quadratic in a size, and its bound often what
# a model could do, not what it is used for.
_MOST_ELEMENTS, _MOST_IN_ALL = 1 << 22, 1 << 26
_OVER_EXAMPLE = 4


@dataclass(frozen=True)
class Sample:
    """Inputs for one call.

    Attributes:
        inputs: tensors and numbers, as `torch.utils._pytree` flattens them.
        title: what is special about them, in a few words; empty for the example itself.
        kind: `example`, `values` where values differ from it, `sizes` where sizes do, too.
    """

    inputs: Sequence[Any]
    title: str = ""
    kind: str = "example"


# Whether the lowered program takes inputs of these shapes, None being that of a number.
Accepts = Callable[[Sequence[tuple[int, ...] | None]], bool]


def list_samples(program: ExportedProgram, accepts: Accepts = lambda shapes: True) -> list[Sample]:
    """The example inputs, other values twice, and the sizes at the bounds of dynamic dimensions.

    Floats are drawn in the range of the example's, and then of both signs around its scale;
    integers stay in the range of the example's, because they may be indices; what is no tensor
    stays. The same program gives the same samples.

    Raises:
        InputError: the program was saved without example inputs.
    """
    if program.example_inputs is None:
        raise InputError(
            "--verify needs example inputs, and the .pt2 was saved without; leave it out, or name "
            "a Python file"
        )
    example = list(pytree.tree_leaves(program.example_inputs))
    samples = [Sample(example)]
    shapes = [_shape(value) for value in example]
    for seed, spread in ((1, False), (2, True)):
        other = _draw_all(example, shapes, seed, spread)
        if not all(map(_is_same, example, other)):
            title = "values of both signs" if spread else "other values"
            samples.append(Sample(other, title, "values"))
    for title, sizes in _list_sizes(program, shapes, accepts):
        samples.append(Sample(_draw_all(example, sizes, 3, False), title, "sizes"))
    return samples


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _is_same(first: Any, second: Any) -> bool:
    return not isinstance(first, torch.Tensor) or torch.equal(first, second)


def _list_sizes(
    program: ExportedProgram, example: list[tuple[int, ...] | None], accepts: Accepts
) -> Iterator[tuple[str, list[tuple[int, ...] | None]]]:
    """The lowest sizes, the next, the largest that fits and one between, each once."""
    inputs = list(list_inputs(program))
    if not any(isinstance(size, torch.SymInt) for node in inputs for size in _sizes(node)):
        return
    witnesses = Witnesses(program)
    values = [v for n in program.graph.nodes for v in pytree.tree_leaves(n.meta.get("val"))]
    tensors = [v for v in values if isinstance(v, torch.Tensor)]
    known = [_measure_example(inputs, example, tensors)]
    seen = [example]
    wanted: list[Callable[[int, int | None], int]] = [
        lambda low, high: low,
        lambda low, high: low + 1 if high is None else min(low + 1, high),
        *(_make_fraction(k) for k in range(24)),
    ]
    largest = 0
    for number, choice in enumerate(wanted):
        if largest == 2:
            return
        chosen = witnesses.choose(choice)
        sizes = [_evaluate(chosen, n, e) for n, e in zip(inputs, example, strict=True)]
        if sizes in seen or any(min(s, default=0) < 0 for s in sizes if s is not None):
            continue
        if not accepts(sizes) or not _fits(chosen, tensors, *known[0]):
            continue
        seen.append(sizes)
        largest += number > 1
        yield _name_sizes(inputs, sizes), sizes


def _make_fraction(k: int) -> Callable[[int, int | None], int]:
    return lambda low, high: low + ((high - low) >> k if high is not None else 7 >> k)


def _sizes(node: Node) -> Sequence[Any]:
    value = node.meta.get("val")
    return value.shape if isinstance(value, torch.Tensor) else ()


def _evaluate(
    chosen: Witnesses, node: Node, example: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    return None if example is None else chosen.evaluate_shape(_sizes(node))[0]


def _measure_example(
    inputs: Sequence[Node], example: Sequence[tuple[int, ...] | None], tensors: Sequence[Any]
) -> tuple[float, float]:
    """The most elements of a tensor and of all, at the example's sizes where they are known."""
    hints = {}
    for node, shape in zip(inputs, example, strict=True):
        for size, value in zip(_sizes(node), shape or (), strict=False):
            hints[str(size)] = value
    counts = [math.prod(hints.get(str(s), 1) for s in t.shape if not isinstance(s, int))
              * math.prod(s for s in t.shape if isinstance(s, int)) for t in tensors]  # fmt: skip
    return max(counts, default=0), sum(counts)


def _fits(chosen: Witnesses, tensors: Sequence[Any], most: float, total: float) -> bool:
    counts = [math.prod(chosen.evaluate_shape(tensor.shape)[0]) for tensor in tensors]
    return max(counts, default=0) <= max(_MOST_ELEMENTS, _OVER_EXAMPLE * most) and sum(
        counts
    ) <= max(_MOST_IN_ALL, _OVER_EXAMPLE * total)


def _name_sizes(inputs: Sequence[Node], sizes: Sequence[tuple[int, ...] | None]) -> str:
    named: dict[str, str] = {}
    for node, shape in zip(inputs, sizes, strict=True):
        for dim, size in enumerate(_sizes(node)):
            if isinstance(size, torch.SymInt) and shape is not None:
                named.setdefault(str(size), f"{node.name}.shape[{dim}] = {shape[dim]}")
    return ", ".join(named.values())


def _draw_all(
    example: Sequence[Any], shapes: Sequence[tuple[int, ...] | None], seed: int, spread: bool
) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[int, Any] = {}
    for value, shape in zip(example, shapes, strict=True):
        # torch.export takes a tensor that is given twice for one input.
        if shape is not None and id(value) not in drawn:
            drawn[id(value)] = _draw(value, shape, generator, spread)
    return [drawn.get(id(value), value) for value in example]


def _draw(
    example: torch.Tensor, shape: tuple[int, ...], generator: torch.Generator, spread: bool
) -> torch.Tensor:
    """Values like the example's, laid out in memory as it is."""
    if example.is_complex():
        parts = torch.view_as_real(example.resolve_conj())
        drawn = torch.view_as_complex(_draw(parts, (*shape, 2), generator, spread).contiguous())
    elif example.dtype == torch.bool:
        share = float(example.double().mean()) if example.numel() else 0.5
        share = min(max(share, 0.25), 0.75)
        drawn = torch.rand(shape, generator=generator) < share
    elif example.is_floating_point():
        drawn = _draw_floats(example, shape, generator, spread).to(example.dtype)
    else:
        drawn = _draw_integers(example, shape, generator, spread).to(example.dtype)
    strides = example.stride()
    order = sorted(range(example.dim()), key=lambda dim: (-strides[dim], dim))
    back = [order.index(dim) for dim in range(example.dim())]
    return drawn.permute(order).contiguous().permute(back)


def _draw_floats(
    example: torch.Tensor, shape: tuple[int, ...], generator: torch.Generator, spread: bool
) -> torch.Tensor:
    values = example.double()
    values = values[values.isfinite()]
    low, high = (float(values.min()), float(values.max())) if values.numel() else (0.0, 0.0)
    if spread or low < 0 or low == high == 0:
        scale = float(values.square().mean().sqrt()) if values.numel() else 0.0
        return torch.randn(shape, generator=generator, dtype=torch.float64) * (scale or 1.0)
    if low == high:
        low, high = low / 2, 1.5 * high
    # Images, probabilities, what a logarithm is taken of.
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _draw_integers(
    example: torch.Tensor, shape: tuple[int, ...], generator: torch.Generator, spread: bool
) -> torch.Tensor:
    values = example.to(torch.int64).flatten()
    if not values.numel():
        return torch.zeros(shape, dtype=torch.int64)
    # Offsets stay sorted; zeros and ones in this order are a mask.
    rising = values.numel() > 1 and bool((values.diff() >= 0).all()) and bool(values[-1] > 1)
    count = len(set(values.tolist()))
    distinct = count == values.numel()
    if tuple(shape) == tuple(example.shape) and (distinct or not spread):
        # No value twice may be a promise: what is written twice to one place has any order.
        drawn = values[torch.randperm(values.numel(), generator=generator)]
    else:
        low, high = int(values.min()), int(values.max())
        drawn = torch.randint(low, high + (high < (1 << 63) - 1), shape, generator=generator)
    drawn = drawn.flatten()
    return (drawn.sort().values if rising else drawn).reshape(shape)
