"""Entries with a planted fault each, which check (a) must catch, and sound ones beside them."""

from collections.abc import Callable
from typing import Any

import torch

from mlx_coverage.registry.dtypes import ANY, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, Rank
from mlx_coverage.registry.samples import Choice, Dim, binary, draw, elementwise, tensor
from mlx_coverage.registry.spec import OpSpec, Promotion

aten = torch.ops.aten


def unary(target: Any, function: Callable[[Any], Any]) -> OpSpec:
    """An entry of one float tensor."""
    return OpSpec(target, lambda self: function(self), (Dtype("self", FLOAT),), elementwise())


def two(
    target: Any,
    function: Callable[[Any, Any], Any],
    promotion: Promotion | None = Promotion.DEFAULT,
) -> OpSpec:
    """An entry of two tensors that broadcast."""
    rules = (Dtype("self", ANY), Dtype("other", ANY))
    return OpSpec(
        target, lambda self, other: function(self, other), rules, binary(), promotion=promotion
    )


def reduced(target: Any, function: Callable[[Any, int, bool], Any]) -> OpSpec:
    """An entry that reduces one axis."""
    samples = elementwise(dim=Dim(), keepdim=Choice((False, True)))
    return OpSpec(
        target,
        lambda self, dim, keepdim: function(self, dim, keepdim),
        (Dtype("self", FLOAT), NonEmpty("self"), Rank("self", 1)),
        samples,
    )


def sum_in_half(x: Any, dim: int, keepdim: bool) -> Any:
    """Rounds after each element."""
    total = mx.zeros_like(mx.take(x, mx.array([0]), dim))
    for i in range(x.shape[dim]):
        total = mx.add(total, mx.take(x, mx.array([i]), dim))
    return total if keepdim else mx.squeeze(total, dim)


def variance_by_cancellation(x: Any, dim: int, keepdim: bool) -> Any:
    square = mx.mean(x * x, dim, keepdim) - mx.mean(x, dim, keepdim) ** 2
    return square * x.shape[dim] / (x.shape[dim] - 1)


def next_axis(x: Any, dim: int, keepdim: bool) -> Any:
    return mx.max(x, (dim + 1) % x.ndim, keepdim)


def shift_index(self: Any, dim: int, index: int) -> Any:
    return mx.take(self, index - 1, dim)


def cut_short(self: Any, dim: int, start: int, length: int) -> Any:
    return mx.indexing.slice(self, [start], [start + length - 1], [1])


_SELECTED = draw(self=tensor(3, 4, 5), dim=Choice((0,)), index=Choice((0, 1, 2)))
_NARROWED = draw(self=tensor(5), dim=Choice((0,)), start=Choice((0, 1)), length=Choice((2, 3)))
_FLOAT = (Dtype("self", FLOAT),)

# What is wrong, the entry, and the dtype in which it shows.
FAULTS: dict[str, tuple[OpSpec, torch.dtype]] = {
    "sign": (two(aten.sub.Tensor, lambda a, b: b - a), torch.float32),
    "sign of an infinity": (
        unary(aten.abs.default, lambda x: mx.where(x == -mx.inf, x, mx.abs(x))),
        torch.float32,
    ),
    "sign of zero": (unary(aten.neg.default, lambda x: 0 - x), torch.float32),
    "axis": (
        reduced(aten.amax.default, lambda x, d, k: mx.max(x, (d + 1) % x.ndim, k)),
        torch.float32,
    ),
    "keepdim": (reduced(aten.amax.default, lambda x, d, k: mx.max(x, d, True)), torch.float32),
    "computed in half": (
        unary(aten.exp.default, lambda x: mx.exp(mx.astype(x, mx.float16))),
        torch.float32,
    ),
    "integers through float32": (
        two(aten.add.Tensor, lambda a, b: mx.astype(a, mx.float32) + b),
        torch.int64,
    ),
    "index off by one": (OpSpec(aten.select.int, shift_index, _FLOAT, _SELECTED), torch.float32),
    "length off by one": (
        OpSpec(aten.narrow.default, cut_short, _FLOAT, _NARROWED),
        torch.float32,
    ),
    "NaN swallowed": (
        two(aten.maximum.default, lambda a, b: mx.where(a > b, a, b)),
        torch.float32,
    ),
    "NaN made": (unary(aten.relu.default, lambda x: mx.maximum(x, 0) + (x - x)), torch.float32),
    "rounding half up": (unary(aten.round.default, lambda x: mx.floor(x + 0.5)), torch.float32),
    "constant": (unary(aten.sin.default, mx.zeros_like), torch.float32),
    "identity": (unary(aten.sigmoid.default, lambda x: x), torch.bfloat16),
    "subnormals lost": (
        unary(aten.abs.default, lambda x: mx.where(mx.abs(x) < 6e-5, 0, mx.abs(x))),
        torch.float16,
    ),
    "accumulated in half": (reduced(aten.sum.dim_IntList, sum_in_half), torch.float16),
    "variance by cancellation": (reduced(aten.var.dim, variance_by_cancellation), torch.float32),
    "approximate function": (
        unary(aten.tanh.default, lambda x: x * (27 + x * x) / (27 + 9 * x * x)),
        torch.float16,
    ),
    "strides ignored": (
        unary(aten.neg.default, lambda x: -mx.as_strided(x, x.shape[::-1]).T),
        torch.float32,
    ),
}

SOUND: dict[str, tuple[OpSpec, torch.dtype]] = {
    "sub": (two(aten.sub.Tensor, lambda a, b: a - b), torch.float32),
    "maximum": (two(aten.maximum.default, mx.maximum), torch.float32),
    "amax": (reduced(aten.amax.default, mx.max), torch.float16),
    "round": (unary(aten.round.default, mx.round), torch.float32),
    "neg": (unary(aten.neg.default, mx.negative), torch.bfloat16),
    "sum": (
        reduced(aten.sum.dim_IntList, lambda x, d, k: mx.sum(mx.astype(x, mx.float32), d, k)),
        torch.float16,
    ),
}
