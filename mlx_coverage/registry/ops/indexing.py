"""Reading and writing at indices. MLX checks no index: on a CPU the runtime does.

`index_copy`, `index_fill`, `index_add`, `masked_fill`, `select_scatter` and `take` arrive
decomposed into these.
"""

import torch

from mlx_coverage.registry import reasons
from mlx_coverage.registry.dtypes import ANY, BOOL, COMPLEX, FLOAT, INDEX
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import widen_half
from mlx_coverage.registry.rules import Dtype, Predicate, Rank, Rule, SameDtype
from mlx_coverage.registry.samples import (
    Choice,
    IndexedTensor,
    IndexList,
    Integer,
    draw,
    tensor,
)
from mlx_coverage.registry.shapes import (
    along,
    is_same_size,
    normalize_dim,
    slice_axis,
)
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("indexing")


@family.op(
    aten.embedding.default,
    samples=draw(
        sizes={"N": (1, 5)},
        weight=tensor("N", "E"),
        indices=tensor("*S", dtype=("int32", "int64"), below="N"),
    ),
    rules=[Dtype("weight", FLOAT | COMPLEX), Dtype("indices", INDEX), Rank("weight", 2, 2)],
)
def embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    return mx.take(weight, indices, 0)


@family.op(
    aten.index_select.default,
    samples=draw(
        sizes={"N": (1, 4)},
        self=tensor("*S", "N"),
        dim=Integer(-1, -1),
        index=tensor("K", dtype=("int32", "int64"), below="N"),
    ),
    rules=[
        Dtype("self", ANY | COMPLEX),
        Dtype("index", INDEX),
        Rank("self", 1),
        Rank("index", 1, 1),
    ],
)
def index_select(self, dim, index):
    return mx.take(self, index, normalize_dim(dim, self.ndim))


def _lead(self, indices):
    """`self` with its indexed axes first, the index arrays, and the axes that follow them."""
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    rest = [axis for axis in range(self.ndim) if axis not in axes]
    arrays = [indices[axis] for axis in axes]
    if axes != list(range(len(axes))):
        self = mx.transpose(self, axes + rest)
    return self, arrays, axes, rest


def _result_order(axes, rest, rank):
    """Where torch puts the `rank` axes of the indices: in place of neighbours, else in front."""
    adjacent = axes == list(range(axes[0], axes[-1] + 1))
    before = sum(axis < axes[0] for axis in rest) if adjacent else 0
    moved = range(rank, rank + before)
    return [*moved, *range(rank), *range(rank + before, rank + len(rest))]


def _names_places(call):
    return all(index.dtype != torch.bool for index in call.tensors("indices"))


@family.op(
    aten.index.Tensor,
    samples=draw(
        groups={"*S": (0, 3)},
        self=tensor("N", "*S"),
        indices=IndexList(masks=True),
    ),
    rules=[
        Dtype("self", ANY | COMPLEX),
        Dtype("indices", INDEX | BOOL),
        Rank("self", 1),
        Predicate(
            _names_places,
            reasons.DATA_DEPENDENT,
            "numbers of places; how many elements a bool mask keeps depends on its values",
            "indices",
        ),
    ],
)
def index(self, indices):
    leading, arrays, axes, rest = _lead(self, indices)
    if len(arrays) == 1:
        return mx.take(self, arrays[0], axes[0])
    order = _result_order(axes, rest, max(array.ndim for array in arrays))
    gathered = mx.indexing.gather(leading, arrays)
    return mx.transpose(gathered, order) if order != sorted(order) else gathered


def _has_one_value(call):
    """No mask, or one alone, put to a value that is the same at each of its places."""
    indices, (values,) = call.arguments["indices"], call.tensors("values")
    masked = [i for i, t in enumerate(indices) if t is not None and t.dtype == torch.bool]
    if not masked:
        return True
    rest = call.arguments["self"].dim() - masked[0] - indices[masked[0]].dim()
    # Export relates no dynamic size of the values to those of `self`.
    static = all(isinstance(size, int) for size in values.shape)
    own = values.shape[0] if 0 < values.dim() == rest + 1 else 1
    alone = len(call.tensors("indices")) == 1 and values.dim() <= rest + 1
    return static and alone and own == 1


@family.op(
    aten.index_put.default,
    samples=draw(
        groups={"*S": (0, 3)},
        self=tensor("N", "*S"),
        indices=IndexList(unique=True, masks=True),
        values=IndexedTensor(),
        accumulate=Choice((False, True)),
    ),
    rules=[
        Dtype("self", ANY | COMPLEX),
        SameDtype(("self", "values")),
        Dtype("indices", INDEX | BOOL),
        Rank("self", 1),
        Predicate(
            _has_one_value,
            reasons.DATA_DEPENDENT,
            "a bool index stands alone, with one value of static sizes for all its places",
            "indices",
        ),
    ],
)
def index_put(self, indices, values, accumulate=False):
    if any(index is not None and index.dtype == mx.bool_ for index in indices):
        return _put_at_mask(self, indices, values, accumulate)
    leading, arrays, axes, rest = _lead(self, indices)
    arrays = mx.broadcast_arrays(*arrays) if len(arrays) > 1 else arrays
    places = list(arrays[0].shape)
    order = _result_order(axes, rest, len(places))
    sizes = places + [self.shape[axis] for axis in rest]
    values = mx.broadcast_to(values, [sizes[axis] for axis in order])
    if len(axes) == 1 and len(places) == 1 and not accumulate:
        # The update of a KV cache: in place, where a scatter over moved axes would copy it.
        if is_same_size(places[0], 1):  # one token
            (start,), size = arrays, self.shape[axes[0]]
            start = mx.where(start < 0, start + size, start)
            return mx.slice_update(self, values, start, axes)
        where = mx.broadcast_to(along(arrays[0], axes[0], self.ndim), values.shape)
        return mx.put_along_axis(self, where, values, axes[0])
    values = mx.transpose(values, _invert(order))
    if accumulate:
        leading, values = _widen_sum(leading), _widen_sum(values)
    result = mx.indexing.scatter(leading, list(arrays), values, "add" if accumulate else "set")
    return mx.transpose(result, _invert(axes + rest))


def _put_at_mask(self, indices, values, accumulate):
    (axis,) = (axis for axis, index in enumerate(indices) if index is not None)
    rest = self.ndim - axis - indices[axis].ndim
    mask = mx.reshape(indices[axis], list(indices[axis].shape) + [1] * rest)
    values = mx.squeeze(values, 0) if values.ndim > rest else values
    if accumulate:
        wide = _widen_sum(self)
        return mx.where(mask, wide + _widen_sum(values), wide)
    return mx.where(mask, values, self)


def _widen_sum(a):
    return mx.astype(a, mx.int32) if a.dtype == mx.bool_ else widen_half(a)


def _invert(order):
    return [order.index(axis) for axis in range(len(order))]


INDEX_RULES: list[Rule] = [Dtype("index", INDEX), Rank("self", 1), Rank("index", 1)]


@family.op(
    aten.gather.default,
    samples=draw(
        sizes={"A": (1, 3), "B": (1, 4), "X": (0, 2)},
        self=tensor("A+X", "B"),
        dim=Choice((1, -1)),
        index=tensor("A", "K", dtype=("int64",), below="B"),
    ),
    rules=[Dtype("self", ANY | COMPLEX), Dtype("index", INDEX)],
)
def gather(self, dim, index, *, sparse_grad=False):
    if self.ndim < 2:  # of these torch takes one without dimensions for one element
        return mx.take(mx.flatten(self), index)
    dim = normalize_dim(dim, self.ndim)
    return mx.take_along_axis(crop(self, index, dim), index, dim)


def crop(a, index, dim=None):
    """`a` cut to the sizes of `index` on every axis but `dim`."""
    for axis, size in enumerate(index.shape):
        if axis != dim and not is_same_size(a.shape[axis], size):
            a = slice_axis(a, axis, 0, size)
    return a


family.gap(
    "the size of the result is the number of non-zero elements",
    aten.nonzero.default,
    kind="op/data-dependent-shape",
)
