"""The same case at other sizes: what a program that was lowered once must also run."""

import math
from typing import Any

import numpy as np
import torch

from mlx_coverage.registry import rules, samples
from tests.op_conformance.arguments import Drawing, list_names, make_matrices
from tests.op_conformance.cases import Case
from tests.op_conformance.domain import read_domain

# Arguments that hold sizes of a tensor as plain integers: its dimensions stay.
_TIES = (samples.Reshape, samples.Expand, samples.SplitSizes)


def grow(case: Case, by: int, *, bounded: bool = False) -> Case:
    """The case with every dimension longer that rules and its other arguments leave free.

    Args:
        case: to grow.
        by: how much longer.
        bounded: whether dimensions that the samples bound grow as well.
    """
    plan = case.spec.samples
    assert plan is not None
    frozen = _list_frozen(case, plan)
    if not bounded:
        frozen |= plan.sizes.keys()
    sizes = {
        name: size if name in frozen or size < 2 else size + by for name, size in case.sizes.items()
    }
    groups = {
        name: group if name in frozen else tuple(n if n < 2 else n + by for n in group)
        for name, group in case.groups.items()
    }
    drawing = Drawing(_refuse, case.spec, read_domain(case.spec), None, sizes=sizes, groups=groups)
    grown = drawing.values
    for name, generator in plan.arguments.items():
        if name in case.arguments:
            grown[name] = _resize(case.arguments[name], generator, drawing, case, by)
    return case.replace(**grown)


def _refuse(strategy: Any, label: str) -> Any:
    raise AssertionError(f"{label} is drawn when a case grows")


def _list_frozen(case: Case, plan: samples.Samples) -> set[str]:
    static = {
        rule.argument
        for rule in case.spec.rules
        if isinstance(rule, rules.Static) and (rule.where is None or case.arguments.get(rule.where))
    }
    frozen: set[str] = set()
    for name, generator in plan.arguments.items():
        if isinstance(generator, _TIES):
            frozen |= _list_dims(plan.arguments.get(generator.of))
        elif name in static or isinstance(generator, (samples.Shape, samples.Size)):
            frozen |= _list_dims(generator)
        elif isinstance(generator, samples.Tensor) and generator.unique:
            frozen |= set(list_names(generator.dims[-1]))  # tiled indices repeat
    # A product keeps its factors: a dynamic one need not be divisible.
    products = [d for g in plan.arguments.values() for d in getattr(g, "dims", ()) if "*" in str(d)]
    for names in map(list_names, products):
        frozen |= set(names) if frozen & set(names) else set()
    return frozen


def _list_dims(generator: Any) -> set[str]:
    dims = getattr(generator, "dims", None) or (getattr(generator, "dim", 0),)
    stars = {dim for dim in dims if isinstance(dim, str) and dim.startswith("*")}
    return stars.union(*(list_names(dim) for dim in dims))


def _resize(value: Any, generator: Any, drawing: Drawing, case: Case, by: int) -> Any:
    match generator:
        case samples.Tensor() if value is not None:
            shape = drawing.shape(generator.dims)
            if generator.sorted:
                return _tile(value, shape).sort(-1).values
            if generator.matrix is not None:
                return make_matrices(_tile(value, shape), generator.matrix)
        case samples.BroadcastTensor() if value is not None:
            shape = _broadcast(value, drawing.shape(generator.dims))
        case samples.IndexedTensor() if value.dim():
            operand, indices = drawing.values[generator.of], drawing.values[generator.indices]
            if any(index is not None and index.dtype == torch.bool for index in indices):
                return value  # the values of a mask are static
            shape = _broadcast(value, tuple(torch.ops.aten.index(operand, indices).shape))
        case samples.IndexList():
            sizes = tuple(drawing.values[generator.of].shape)
            return [
                _tile(index, sizes[axis : axis + index.dim()])
                if index is not None and index.dtype == torch.bool
                else index
                for axis, index in enumerate(value)
            ]
        case samples.Offsets():
            last = generator.last
            if case.arguments[last] if isinstance(last, str) else last:
                value = value.clone()
                value[-1:] = drawing.evaluate(generator.size)
            return value
        case samples.TensorList():
            along = generator.along and case.arguments[generator.along]
            return [_lengthen(t, drawing.shape(generator.dims), along, by) for t in value]
        case _:
            return value
    return _tile(value, shape)


def _broadcast(value: torch.Tensor, full: tuple[int, ...]) -> tuple[int, ...]:
    kept = full[len(full) - value.dim() :]
    return tuple(1 if own == 1 else size for own, size in zip(value.shape, kept, strict=True))


def _lengthen(tensor: torch.Tensor, shape: tuple[int, ...], axis: Any, by: int) -> torch.Tensor:
    sizes = list(shape)
    if axis is not None and sizes:
        own = tensor.shape[axis]
        sizes[axis] = own if own < 2 else own + by
    return _tile(tensor, tuple(sizes))


def _tile(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor's own elements, again and again: still inside whatever bounds they had."""
    if tuple(tensor.shape) == shape:
        return tensor
    flat = tensor.reshape(-1)
    order = np.random.default_rng(0).permutation(math.prod(shape)) % max(flat.numel(), 1)
    return flat[torch.from_numpy(order)].reshape(shape)
