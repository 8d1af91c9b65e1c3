"""Indices of triangles. `tril` and `triu` arrive decomposed into comparisons of `arange`."""

from typing import Any

import torch

from mlx_coverage.registry.dtypes import INDEX
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import ResultDtype, Static
from mlx_coverage.registry.samples import Integer, draw
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("triangles")


def _clamp(value, high):
    return min(max(value, 0), high)


def _list_indices(firsts, lasts):
    """The row and column of each place from `firsts[r]` to before `lasts[r]`, row by row."""
    lengths = [max(last - first, 0) for first, last in zip(firsts, lasts, strict=True)]
    if not sum(lengths):
        return mx.zeros([2, 0], mx.int64)
    ends = mx.cumsum(mx.array(lengths, mx.int64), 0)
    starts = ends - mx.array(lengths, mx.int64) - mx.array(firsts, mx.int64)
    places = mx.arange(0, sum(lengths), 1, mx.int64)
    rows = mx.searchsorted(ends, places, "right")
    return mx.stack([mx.astype(rows, mx.int64), places - mx.take(starts, rows, 0)])


_OPTIONS: dict[str, Any] = {
    "samples": draw(row=Integer(0, 5), col=Integer(0, 5), offset=Integer(-6, 6)),
    "rules": [ResultDtype(INDEX), Static("row"), Static("col"), Static("offset")],
    "whole": True,
}


@family.op(aten.tril_indices.default, **_OPTIONS)
def tril_indices(row, col, offset=0):
    return _list_indices([0] * row, [_clamp(r + offset + 1, col) for r in range(row)])


@family.op(aten.triu_indices.default, **_OPTIONS)
def triu_indices(row, col, offset=0):
    return _list_indices([_clamp(r + offset, col) for r in range(row)], [col] * row)
