"""Reductions.

Left to torch's decompositions, which are as exact and as fast: std, std_mean, aminmax,
count_nonzero, nansum, the norms, and all other forms of sum, mean and var.
"""

import math

import torch

from mlx_coverage.registry.dtypes import ANY, COMPLEX, FLOAT, NUMBER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.complex_numbers import (
    INFINITE_OPERAND,
    INFINITE_PRODUCT,
    make_complex,
)
from mlx_coverage.registry.ops.operands import convert_dtype, widen_half
from mlx_coverage.registry.rules import Dtype, NonEmpty, ResultDtype
from mlx_coverage.registry.samples import Choice, Dims, Tensor, draw, elementwise
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("reduction")

_KEEPDIM = Choice((False, True))


def _some(**others):
    """Samples of a tensor of at least one element: a maximum of nothing is an error."""
    return draw(self=Tensor(("*S",)), sizes={"S": (1, 4)}, **others)


def _axes(x, dim):
    """MLX's axes: no dims, or an empty list of them, means all; no dimensions have no axes."""
    if dim is None or x.ndim == 0:
        return None
    return dim if isinstance(dim, int) else tuple(dim) or None


def _reduce(function, x, dim=None, keepdim=False):
    """`function` over `dim`, and its identity where there is nothing to reduce."""
    axes = _axes(x, dim)
    if 0 not in x.shape:
        return function(x, axes, keepdim)
    # MLX reads past the end of an empty array of several dimensions.
    listed = range(x.ndim) if axes is None else axes if isinstance(axes, tuple) else (axes,)
    reduced = {axis % x.ndim for axis in listed}
    kept = [1 if i in reduced else n for i, n in enumerate(x.shape) if keepdim or i not in reduced]
    if function is mx.mean and x.dtype == mx.complex64:
        return make_complex(*[mx.full(kept, math.nan, mx.float32)] * 2)
    dtype = mx.bool_ if function in (mx.any, mx.all) else x.dtype
    return mx.full(kept, _IDENTITIES[function], dtype)


_IDENTITIES = {mx.sum: 0, mx.prod: 1, mx.mean: math.nan, mx.any: False, mx.all: True}


# Sums, products and means


@family.op(aten.sum.dim_IntList, dtypes=ANY | COMPLEX, rules=[ResultDtype(ANY | COMPLEX)])
def sum(self, dim, keepdim=False, *, result_dtype):
    # Integers widen before they are added.
    return _reduce(mx.sum, widen_half(convert_dtype(self, result_dtype)), dim, keepdim)


def _widen(x, dtype=None):
    """`x` in the dtype in which its mean in `dtype` is formed: float32, or complex64."""
    return mx.astype(x, mx.complex64 if (dtype or x.dtype) == mx.complex64 else mx.float32)


@family.op(
    aten.mean.default,
    dtypes=ANY | COMPLEX,
    rules=[ResultDtype(FLOAT | COMPLEX)],
    limitations=(INFINITE_OPERAND,),
)
def mean_of_all(self, *, result_dtype):
    return _reduce(mx.mean, _widen(self, result_dtype))


@family.op(
    aten.mean.dim,
    dtypes=ANY | COMPLEX,
    rules=[ResultDtype(FLOAT | COMPLEX)],
    limitations=(INFINITE_OPERAND,),
)
def mean(self, dim, keepdim=False, *, result_dtype):
    return _reduce(mx.mean, _widen(self, result_dtype), dim, keepdim)


def _multiply(x, dtype, dim=None, keepdim=False):
    product = _reduce(mx.prod, widen_half(convert_dtype(x, dtype)), dim, keepdim)
    # torch multiplies also a single factor by 1, which spreads NaN between complex parts.
    return product * 1 if dtype == mx.complex64 else product


@family.op(
    aten.prod.default,
    dtypes=ANY | COMPLEX,
    rules=[ResultDtype(ANY | COMPLEX)],
    limitations=(INFINITE_PRODUCT,),
)
def prod_of_all(self, *, result_dtype):
    return _multiply(self, result_dtype)


@family.op(
    aten.prod.dim_int,
    dtypes=ANY | COMPLEX,
    rules=[ResultDtype(ANY | COMPLEX)],
    limitations=(INFINITE_PRODUCT,),
)
def prod(self, dim, keepdim=False, *, result_dtype):
    return _multiply(self, result_dtype, dim, keepdim)


def _average(x, dim, keepdim):
    """The mean, of the parts where `x` is complex: a complex divisor would mix them."""
    if x.dtype != mx.complex64:
        return _reduce(mx.mean, x, dim, keepdim)
    return make_complex(*(_reduce(mx.mean, part(x), dim, keepdim) for part in (mx.real, mx.imag)))


def _square(x):
    if x.dtype != mx.complex64:
        return x * x
    real, imag = mx.real(x), mx.imag(x)
    return real * real + imag * imag


def _moments(x, dim, correction, keepdim):
    """Variance and mean in two passes: the sum of squares would cancel."""
    x = _widen(x)
    center = _average(x, dim, True)
    deviation = x - center
    # The mean of large numbers is rounded, even of equal ones: all deviations are off by that.
    deviation = deviation - _average(deviation, dim, True)
    total = 1
    for axis in (dim or range(x.ndim)) if x.ndim > 0 else ():
        total = total * x.shape[axis]
    freedom = mx.maximum(mx.array(total, mx.float32) - (1 if correction is None else correction), 0)
    variance = _reduce(mx.sum, _square(deviation), dim, keepdim) / freedom
    return variance, center if keepdim else _average(x, dim, False)


_CORRECTION = Choice((None, 0, 1, 0.5))


@family.op(aten.var.correction, samples=elementwise(correction=_CORRECTION), dtypes=FLOAT | COMPLEX)
def var(self, dim=None, *, correction=None, keepdim=False):
    return _moments(self, dim, correction, keepdim)[0]


@family.op(
    aten.var_mean.correction,
    samples=elementwise(correction=_CORRECTION),
    dtypes=FLOAT | COMPLEX,
    whole=True,
    limitations=(
        Limitation(
            "the mean beside the variance is infinite where torch gives NaN",
            "torch's one-pass update subtracts infinities",
            avoids="inf",
        ),
        Limitation(
            "the mean beside the variance is infinite where the sum overflows",
            "torch's one-pass update forms no sum",
            avoids="overflow",
        ),
    ),
)
def var_mean(self, dim=None, *, correction=None, keepdim=False):
    return _moments(self, dim, correction, keepdim)


@family.op(
    aten.logsumexp.default,
    samples=_some(dim=Dims(least=1)),
    dtypes=FLOAT,
    rules=[NonEmpty("self")],
    whole=True,
)
def logsumexp(self, dim, keepdim=False):
    return mx.logsumexp(mx.astype(self, mx.float32), _axes(self, dim), keepdim)


# Extremes


@family.op(aten.amax.default, samples=_some(), dtypes=ANY, rules=[NonEmpty("self")])
def amax(self, dim=(), keepdim=False):
    return mx.max(self, _axes(self, dim), keepdim)


@family.op(aten.amin.default, samples=_some(), dtypes=ANY, rules=[NonEmpty("self")])
def amin(self, dim=(), keepdim=False):
    return mx.min(self, _axes(self, dim), keepdim)


family.unary(
    ANY,
    {aten.max.default: mx.max, aten.min.default: mx.min},
    samples=_some(),
    rules=[Dtype("self", ANY), NonEmpty("self")],
)


def _locate(function, x, dim, keepdim):
    """`argmax` or `argmin` along one axis, also of a tensor without dimensions."""
    if x.ndim == 0:
        return mx.zeros((), mx.int64)
    return function(x, dim, keepdim)


@family.op(aten.max.dim, samples=_some(), dtypes=ANY, rules=[NonEmpty("self")])
def max(self, dim, keepdim=False):
    return mx.max(self, _axes(self, dim), keepdim), _locate(mx.argmax, self, dim, keepdim)


@family.op(aten.min.dim, samples=_some(), dtypes=ANY, rules=[NonEmpty("self")])
def min(self, dim, keepdim=False):
    return mx.min(self, _axes(self, dim), keepdim), _locate(mx.argmin, self, dim, keepdim)


@family.op(aten.argmax.default, samples=_some(), dtypes=NUMBER, rules=[NonEmpty("self")])
def argmax(self, dim=None, keepdim=False):
    return _locate(mx.argmax, self, dim, keepdim)


@family.op(aten.argmin.default, samples=_some(), dtypes=NUMBER, rules=[NonEmpty("self")])
def argmin(self, dim=None, keepdim=False):
    return _locate(mx.argmin, self, dim, keepdim)


# Truth


family.unary(ANY | COMPLEX, {aten.any.default: lambda x: _reduce(mx.any, x)})
family.unary(ANY | COMPLEX, {aten.all.default: lambda x: _reduce(mx.all, x)}, whole=True)


@family.op(aten.any.dim, dtypes=ANY | COMPLEX)
def any(self, dim, keepdim=False):
    return _reduce(mx.any, self, dim, keepdim)


@family.op(aten.all.dim, dtypes=ANY | COMPLEX, whole=True)
def all(self, dim, keepdim=False):
    return _reduce(mx.all, self, dim, keepdim)


@family.op(aten.any.dims, dtypes=ANY | COMPLEX)
def any_of_dims(self, dim=None, keepdim=False):
    return _of_dims(mx.any, self, dim, keepdim)


def _of_dims(function, x, dim, keepdim):
    # Here an empty list of dims reduces none of them.
    if dim is not None and not dim:
        return mx.astype(x, mx.bool_)
    return _reduce(function, x, dim, keepdim)


@family.op(aten.all.dims, dtypes=ANY | COMPLEX, whole=True)
def all_of_dims(self, dim=None, keepdim=False):
    return _of_dims(mx.all, self, dim, keepdim)
