"""Bags of embeddings: `nn.EmbeddingBag`. `embedding` itself is in `indexing`."""

import torch

from mlx_coverage.registry.dtypes import FLOAT, INDEX
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import widen_half
from mlx_coverage.registry.rules import Dtype, OneOf, Rank, Rule
from mlx_coverage.registry.samples import Choice, Offsets, draw, tensor
from mlx_coverage.registry.shapes import slice_axis
from mlx_coverage.registry.spec import Family
from mlx_coverage.registry.standins import define_standin

aten = torch.ops.aten
family = Family("embedding")

_SUM, _MEAN, _MAX = 0, 1, 2


def _largest(rows, indices, bags, kept, count):
    """The largest row elements of each bag, as torch takes them: the first, until a larger one.

    A NaN that comes first therefore stays, and any other loses. Returns the elements and
    the indices that they came from; zeros for a bag of no rows.
    """
    size = rows.shape[0]
    places = mx.arange(0, size)
    starts = mx.indexing.scatter(
        mx.full([count], size, mx.int32), [bags], mx.where(kept, places, size), "minimum"
    )
    kept = mx.expand_dims(kept, 1)
    leads = mx.expand_dims(places == mx.take(starts, bags, 0), 1)
    stays = leads & mx.isnan(rows)
    rows = mx.where(stays, mx.inf, mx.where(mx.isnan(rows), -mx.inf, rows))
    lowest = mx.full([count, rows.shape[1]], -mx.inf, rows.dtype)
    largest = mx.indexing.scatter(lowest, [bags], mx.where(kept, rows, -mx.inf), "maximum")
    nans = mx.indexing.scatter(
        mx.zeros(lowest.shape, mx.int32), [bags], mx.astype(kept & stays, mx.int32), "maximum"
    )
    found = kept & (stays | ((rows == mx.take(largest, bags, 0)) & (mx.take(nans, bags, 0) == 0)))
    winners = mx.indexing.scatter(
        mx.full(lowest.shape, size, mx.int32),
        [bags],
        mx.where(found, mx.expand_dims(places, 1), size),
        "minimum",
    )
    empty = mx.expand_dims(starts == size, 1)
    # One more index, for the bags of no rows.
    padded = mx.concatenate([indices, mx.zeros([1], indices.dtype)], 0)
    return (
        mx.where(empty, 0, mx.where(nans > 0, mx.nan, largest)),
        mx.where(empty, 0, mx.take(padded, winners, 0)),
    )


_RULES: list[Rule] = [
    Dtype("weight", FLOAT),
    Dtype("indices", INDEX),
    Dtype("offsets", INDEX),
    # With them torch's results for a backward pass have other shapes than it exports.
    OneOf("per_sample_weights", (None,)),
    Rank("weight", 2, 2),
    Rank("indices", 1, 1),
    OneOf("mode", (_SUM, _MEAN, _MAX)),
]


def _samples(*last):
    return draw(
        sizes={"R": (1, 5)},
        weight=tensor("R", "E"),
        indices=tensor("N", dtype=("int32", "int64"), below="R"),
        include_last_offset=Choice(last),
        offsets=Offsets("B+1", "N", last="include_last_offset", like="indices"),
        mode=Choice((_SUM, _MEAN, _MAX)),
        padding_idx=Choice((-1, 0)),
    )


@family.op(
    aten._embedding_bag.default,
    samples=_samples(False, True),
    rules=_RULES,
    whole=True,
)
def embedding_bag(
    weight,
    indices,
    offsets,
    scale_grad_by_freq=False,
    mode=0,
    sparse=False,
    include_last_offset=False,
    padding_idx=-1,
):
    count = offsets.shape[0] - (1 if include_last_offset else 0)
    end = slice_axis(offsets, 0, count, offsets.shape[0])
    offsets = slice_axis(offsets, 0, 0, count)
    places = mx.astype(mx.arange(0, indices.shape[0]), offsets.dtype)
    bags = mx.astype(mx.searchsorted(offsets, places, "right"), mx.int32) - 1
    kept = mx.broadcast_to(indices != padding_idx, indices.shape)
    rows = mx.take(weight, indices, 0)
    sizes = mx.indexing.scatter(
        mx.zeros([count], mx.int32), [bags], mx.astype(kept, mx.int32), "add"
    )
    if mode == _MAX:
        result, winners = _largest(widen_half(rows), indices, bags, kept, count)
        return result, bags, sizes, winners
    # torch counts indices beyond the last offset as the last bag's, and adds them to it only
    # where `padding_idx` keeps it from its fast kernel.
    added = kept & (places < end) if include_last_offset and padding_idx < 0 else kept
    rows = mx.where(mx.expand_dims(added, 1), widen_half(rows), 0)
    zeros = mx.zeros([count, rows.shape[1]], rows.dtype)
    result = mx.indexing.scatter(zeros, [bags], rows, "add")
    if mode == _MEAN:
        return result / mx.expand_dims(mx.maximum(sizes, 1), 1), bags, sizes, sizes
    # What only a backward pass reads, torch leaves unset where it needs none.
    unset = mx.zeros([count], mx.int32)
    return result, bags if padding_idx >= 0 else mx.zeros([0], mx.int32), unset, unset


family.add(
    aten._embedding_bag_forward_only.default,
    embedding_bag,
    samples=_samples(False),
    # As above.
    rules=[*_RULES, OneOf("include_last_offset", (False,))],
    whole=True,
)


@family.decomposition(aten._embedding_bag.default, aten._embedding_bag_forward_only.default)
def weigh_rows(
    weight,
    indices,
    offsets,
    scale_grad_by_freq=False,
    mode=0,
    sparse=False,
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=-1,
):
    """The op that also knows last offsets, of a table that holds each weighted row once."""
    if per_sample_weights is not None:
        kept = (indices != padding_idx).unsqueeze(1)
        rows = aten.embedding.default(weight, indices) * per_sample_weights.unsqueeze(1)
        weight = torch.where(kept, rows, 0)
        indices = torch.arange(indices.shape[0], dtype=indices.dtype, device=indices.device)
        # An index of none: with a padding torch adds what lies beyond a last offset.
        padding_idx = -1 if padding_idx < 0 else 2**31 - 1
    # The op itself would be decomposed again.
    return define_standin(aten._embedding_bag.default)(
        weight, indices, offsets, False, mode, False, None, include_last_offset, padding_idx
    )
