"""Tensors from sizes and numbers.

Left to torch's decompositions, which end in these: zeros, ones, new_*, *_like, eye, linspace,
tril, triu, fill (a mask of a static size is folded into a constant).
"""

import torch

from mlx_coverage.registry.dtypes import ANY
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, ResultDtype
from mlx_coverage.registry.samples import Choice, Integer, Number, Sizes, draw, elementwise
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("creation")

_DTYPES = Choice((torch.float32, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool))


def _fill(shape, value, dtype):
    # Numbers convert as torch's do: a float given for an integer tensor is cut off.
    if dtype == mx.bool_:
        value = value != 0
    elif isinstance(value, float) and dtype not in (mx.float32, mx.float16, mx.bfloat16):
        value = int(value)
    return mx.full(shape, value, dtype)


@family.op(
    aten.full.default,
    samples=draw(size=Sizes(3), fill_value=Integer(0, 100), dtype=_DTYPES),
    rules=[ResultDtype(ANY)],
)
def full(size, fill_value, *, result_dtype):
    """full(SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor"""  # noqa: E501
    return _fill(size, fill_value, result_dtype)


@family.op(
    aten.full_like.default,
    samples=elementwise(fill_value=Number()),
    rules=[Dtype("self", ANY), ResultDtype(ANY)],
)
def full_like(self, fill_value, *, result_dtype):
    """full_like(Tensor self, Scalar fill_value, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor"""  # noqa: E501
    return _fill(self.shape, fill_value, result_dtype)


@family.op(
    aten.scalar_tensor.default,
    samples=draw(s=Integer(0, 100), dtype=_DTYPES),
    rules=[ResultDtype(ANY)],
)
def scalar_tensor(s, *, result_dtype):
    """scalar_tensor(Scalar s, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor"""  # noqa: E501
    return _fill((), s, result_dtype)
