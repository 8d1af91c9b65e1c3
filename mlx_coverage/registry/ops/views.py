"""Shape changes without arithmetic.

`transpose`, `t`, `reshape`, `_unsafe_view`, `narrow`, `unflatten` and `expand_as` arrive
decomposed into these.
"""

import torch
from torch._prims_common import is_contiguous_or_false

from mlx_coverage.registry import reasons
from mlx_coverage.registry.dtypes import ANY, COMPLEX
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, Predicate, Range, Rank, Static
from mlx_coverage.registry.samples import (
    Choice,
    Dim,
    Expand,
    IndexInto,
    Integer,
    Permutation,
    Reshape,
    draw,
    elementwise,
    tensor,
)
from mlx_coverage.registry.shapes import normalize_bound, normalize_dim, slice_axis
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("views")
_ANY = [Dtype("self", ANY | COMPLEX)]


@family.op(aten.view.default, samples=elementwise(size=Reshape()), rules=_ANY, view=True)
def view(self, size):
    return mx.reshape(self, size)


@family.op(aten.permute.default, samples=elementwise(dims=Permutation()), rules=_ANY, view=True)
def permute(self, dims):
    return mx.transpose(self, [normalize_dim(dim, self.ndim) for dim in dims])


@family.op(aten.expand.default, samples=elementwise(size=Expand()), rules=_ANY, view=True)
def expand(self, size, *, implicit=False):
    kept = [-1] * (len(size) - self.ndim) + list(self.shape)
    return mx.broadcast_to(
        self, [old if new == -1 else new for old, new in zip(kept, size, strict=True)]
    )


def _squeeze(self, dims):
    axes = [dim for dim in dims if self.ndim and self.shape[dim] == 1]
    return mx.squeeze(self, axes) if axes else self


@family.op(aten.squeeze.dim, rules=_ANY, view=True)
def squeeze_dim(self, dim):
    return _squeeze(self, [dim])


@family.op(aten.squeeze.dims, rules=_ANY, view=True)
def squeeze_dims(self, dim):
    return _squeeze(self, dim)


@family.op(aten.unsqueeze.default, samples=elementwise(dim=Dim(extra=1)), rules=_ANY, view=True)
def unsqueeze(self, dim):
    return mx.expand_dims(self, dim)


@family.op(
    aten.slice.Tensor,
    samples=draw(
        sizes=dict.fromkeys("ABC", (2, 5)),
        self=tensor("A", "B", "C"),
        start=Choice((None, 0, 1, -2, -9)),
        end=Choice((None, 9, -1, 3, 2**63 - 1)),
        step=Integer(1, 3),
    ),
    rules=[*_ANY, Rank("self", 1), Range("step", low=1)],
    view=True,
)
def slice(self, dim=0, start=None, end=None, step=1):
    size = self.shape[dim]
    first = normalize_bound(start, size, 0)
    last = normalize_bound(end, size, size)
    return slice_axis(self, dim, first, mx.host_max(first, last), step)


@family.op(
    aten.select.int,
    samples=draw(
        sizes={"N": (1, 4)}, groups={"*S": (0, 3)}, self=tensor("N", "*S"), index=IndexInto()
    ),
    rules=[*_ANY, Rank("self", 1)],
    view=True,
)
def select(self, dim, index):
    first = normalize_bound(index, self.shape[dim], 0)
    return mx.squeeze(slice_axis(self, dim, first, first + 1), dim)


@family.op(
    aten.diagonal.default,
    samples=draw(
        sizes={"A": (1, 5), "B": (1, 5)}, self=tensor("A", "B", "*S"), offset=Integer(-2, 2)
    ),
    rules=[*_ANY, Rank("self", 2)],
    view=True,
)
def diagonal(self, offset=0, dim1=0, dim2=1):
    return mx.diagonal(self, offset, normalize_dim(dim1, self.ndim), normalize_dim(dim2, self.ndim))


@family.op(
    aten.unfold.default,
    samples=draw(
        sizes={"N": (3, 6)}, self=tensor("*S", "N"), dimension=Integer(-1, -1),
        size=Integer(1, 3), step=Integer(1, 3),
    ),
    rules=[*_ANY, Rank("self", 1), Static("size"), Static("step")],
)  # fmt: skip
def unfold(self, dimension, size, step):
    axis = normalize_dim(dimension, self.ndim)
    count = (self.shape[axis] - size) // step + 1
    offsets = mx.expand_dims(mx.arange(0, count), 1) * step + mx.arange(0, size)
    return mx.moveaxis(mx.take(self, offsets, axis), axis + 1, self.ndim)


def _lies_in_order(call):
    operand = call.arguments["self"]
    return operand.storage_offset() == 0 and is_contiguous_or_false(operand)


# An MLX array has no storage to stride over, only elements in order.
IN_ORDER = Predicate(
    _lies_in_order, reasons.LAYOUT, "self is contiguous, at the start of its storage", "self"
)


@family.op(
    aten.as_strided.default,
    samples=draw(
        self=tensor("A+2", "B+4"),
        size=Choice(((2, 2), (2, 3), (1, 2), (2, 1))),
        stride=Choice(((1, 2), (2, 1), (0, 1), (1, 1), (3, 1))),
        storage_offset=Choice((None, 0, 1)),
    ),
    rules=[*_ANY, IN_ORDER],
    view=True,
)
def as_strided(self, size, stride, storage_offset=None):
    view = mx.as_strided(self, size, stride, 0 if storage_offset is None else storage_offset)
    # MLX's reductions on a CPU mistake axes of equal strides for one another (docs/findings).
    return mx.contiguous(view)


family.gap(
    "it changes the storage of its input",
    aten.resize_.default,
    aten.resize_as_.default,
    kind="op/mutation",
)
