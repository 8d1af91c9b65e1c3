"""Tensors from sizes and numbers.

Left to torch's decompositions, which end in these: zeros, ones, new_*, *_like, eye, linspace,
tril, triu, fill (a mask of a static size is folded into a constant).
"""

import math

import torch

from mlx_coverage.registry.dtypes import ANY, COMPLEX, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import is_array, is_integer, wrap_integer
from mlx_coverage.registry.rules import ResultDtype, Static
from mlx_coverage.registry.samples import Choice, Integer, Number, Sizes, draw, elementwise
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("creation")

_DTYPES = Choice((torch.float32, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool))


def _fill(shape, value, dtype):
    if is_array(value):  # a complex number
        return mx.full(shape, value, dtype)
    # Numbers convert as torch's do: a float given for an integer tensor is cut off.
    if dtype == mx.bool_:
        value = value != 0
    elif isinstance(value, float) and is_integer(dtype):
        value = int(value)
    return mx.full(shape, wrap_integer(value, dtype), dtype)


@family.op(
    aten.full.default,
    samples=draw(size=Sizes(3), fill_value=Integer(0, 100), dtype=_DTYPES),
    rules=[ResultDtype(ANY | COMPLEX)],
)
def full(size, fill_value, *, result_dtype):
    return _fill(size, fill_value, result_dtype)


@family.op(
    aten.full_like.default,
    samples=elementwise(fill_value=Number()),
    dtypes=ANY | COMPLEX,
    rules=[ResultDtype(ANY | COMPLEX)],
)
def full_like(self, fill_value, *, result_dtype):
    return _fill(self.shape, fill_value, result_dtype)


@family.op(
    aten.scalar_tensor.default,
    samples=draw(s=Integer(0, 100), dtype=_DTYPES),
    rules=[ResultDtype(ANY | COMPLEX)],
)
def scalar_tensor(s, *, result_dtype):
    return _fill((), s, result_dtype)


@family.op(
    aten.arange.start_step,
    samples=draw(
        start=Choice((-5, 0, 3, -0.9, 2.1)),
        end=Choice((5, 12, 20, 5.9, 7.0)),
        step=Choice((1, 3, 1.5, 2.0)),
        dtype=_DTYPES,
    ),
    rules=[ResultDtype(NUMBER), Static("step")],
)
def arange(start, end, step=1, *, result_dtype):
    fixed = all(type(value) in (int, float) for value in (start, end, step))
    if result_dtype == mx.int64 and fixed:  # torch truncates before it counts, for this dtype only
        start, end, step = int(start), int(end), int(step)
    if not any(isinstance(value, float) for value in (start, end, step)):
        return mx.arange(start, end, step, mx.int64)
    if not fixed:
        return mx.arange(start, end, step, mx.float32)  # a dynamic size beside a float
    # Listed in double precision, as torch computes; a call without inputs becomes a constant.
    length = math.ceil((end - start) / step)
    if result_dtype not in (mx.float32, mx.float16, mx.bfloat16):
        start, step = int(start), int(step)
    return mx.array([start + i * step for i in range(length)], result_dtype)


@family.op(
    aten.empty.memory_format,
    samples=draw(size=Sizes(3), dtype=_DTYPES),
    rules=[ResultDtype(ANY | COMPLEX)],
)
def empty(size, *, result_dtype):
    return mx.zeros(size, result_dtype)


@family.op(
    aten.empty_strided.default,
    samples=draw(size=Sizes(3), stride=Sizes(3, low=1), dtype=_DTYPES),
    rules=[ResultDtype(ANY | COMPLEX)],
)
def empty_strided(size, *, result_dtype):
    return mx.zeros(size, result_dtype)


@family.decomposition(aten.empty_permuted.default)
def empty_permuted(size, physical_layout, **options):
    """A row-major tensor, seen with its dimensions in the order of `size`."""
    # Zeros, because ExecuTorch's pass over memory formats fixes the dynamic sizes of `empty`.
    laid_out = torch.zeros([size[axis] for axis in physical_layout], **options)
    return laid_out.permute([physical_layout.index(axis) for axis in range(len(size))])


family.gap(
    "it draws random numbers: torch's generator is not reproduced",
    aten.bernoulli.default,
    aten.bernoulli.p,
    aten.multinomial.default,
    aten.normal_functional.default,
    aten.rand.default,
    aten.rand_like.default,
    aten.randint.default,
    aten.randint.low,
    aten.randn.default,
    aten.randn_like.default,
    aten.randperm.default,
    kind="op/random",
)
