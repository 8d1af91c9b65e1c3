"""Distances between rows: `cdist` and `pdist`. `_euclidean_dist` arrives decomposed."""

import math

import torch

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Range, Rank
from mlx_coverage.registry.samples import Choice, draw, tensor
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("distance")

_SINGLE = frozenset({torch.float32})  # torch's own kernels take no halves
_ORDERS = Choice((2.0, 1.0, 0.0, math.inf, 0.5, 3.0))


def _norm(difference, p):
    """The p-norm of the last axis; p = 0 counts what is not zero, and NaN stays NaN."""
    size = mx.abs(difference)
    if p == 0:
        return mx.sum(mx.where(mx.isnan(size), size, size != 0), -1)
    if p == math.inf:
        # An axis of no elements has no maximum; a zero beside it changes no other.
        zero = mx.zeros([*size.shape[:-1], 1], size.dtype)
        return mx.max(mx.concatenate([size, zero], -1), -1)
    if p == 1:
        return mx.sum(size, -1)
    if p == 2:
        return mx.sqrt(mx.sum(mx.square(size), -1))
    return mx.sum(size**p, -1) ** (1 / p)


@family.op(
    aten._cdist_forward.default,
    samples=draw(
        groups={"*B": (0, 2)},
        x1=tensor("*B", "P", "M"),
        x2=tensor("*B", "R", "M"),
        p=_ORDERS,
        compute_mode=Choice((None, 1, 2)),
    ),
    dtypes=_SINGLE,
    rules=[Rank("x1", 2), Rank("x2", 2), Range("p", low=0)],
    limitations=(
        Limitation(
            "rows with an infinity are infinitely far from others, and NaN for p = 2 in torch",
            "torch's products of rows subtract infinities",
            avoids="inf",
        ),
    ),
)
def cdist_forward(x1, x2, p):
    # Never by a matrix product, which torch prefers for many rows: it cancels digits.
    difference = mx.expand_dims(x1, -2) - mx.expand_dims(x2, -3)
    if p == math.inf:  # torch's maximum passes over NaN here, and not in `pdist`
        difference = mx.where(mx.isnan(difference), 0, difference)
    return _norm(difference, p)


@family.op(
    aten._pdist_forward.default,
    samples=draw(self=tensor("N+1", "M"), p=_ORDERS),
    dtypes=_SINGLE,
    rules=[Rank("self", 2, 2), Range("p", low=0)],
)
def pdist_forward(self, p=2.0):
    count = self.shape[0]
    # Pairs i < j in order: row i has count - 1 - i of them, so position k lies in the row
    # whose pairs begin last at or before k.
    rows = mx.arange(0, count)
    starts = rows * (2 * count - 1 - rows) // 2
    places = mx.arange(0, count * (count - 1) // 2)
    first = mx.astype(mx.searchsorted(starts, places, "right"), mx.int32) - 1
    second = places - mx.take(starts, first, 0) + first + 1
    return _norm(mx.take(self, first, 0) - mx.take(self, second, 0), p)
