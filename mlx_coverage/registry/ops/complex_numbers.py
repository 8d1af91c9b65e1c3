"""Complex numbers and their parts; arithmetic on them is that of the other families.

`real`, `imag` and `conj` arrive as views: `view_as_real` with a selection, `_conj`, `_neg_view`.
"""

import math

import torch

from mlx_coverage.registry.dtypes import ANY, COMPLEX, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Rank
from mlx_coverage.registry.samples import draw, tensor
from mlx_coverage.registry.spec import Family, Limitation, Promotion

aten = torch.ops.aten
family = Family("complex_numbers")
_REAL = frozenset({torch.float32})

INFINITE_PRODUCT = Limitation(
    "where a factor is infinite, a complex product is infinite; torch's has NaN in its parts",
    "MLX multiplies on a CPU as Annex G of C99 says, torch as in school",
    COMPLEX,
    avoids="inf",
)
INEXACT_TERMS = tuple(
    Limitation(
        f"where one part of a complex term is {what}, the other is a number; in torch it is NaN",
        "torch multiplies by the complex `alpha`, also where it is 1",
        COMPLEX,
        avoids=avoids,
    )
    for what, avoids in (("infinite", "inf"), ("NaN", "nan"))
)
INFINITE_OPERAND = Limitation(
    "at a complex infinity other parts are NaN, or zeros, than torch's",
    "torch's kernels are made of products, and MLX's of a C++ library's functions",
    COMPLEX,
    avoids="inf",
)
ZERO_DIVISOR = Limitation(
    "a complex quotient by -0.0 is infinite with the other sign",
    "torch divides by the absolute value of a divisor that is zero",
    COMPLEX,
    avoids="negative_zero",
)

family.unary(COMPLEX, {aten._conj.default: mx.conjugate})
family.unary(COMPLEX, {aten._conj_physical.default: mx.conjugate}, whole=True)
family.unary(FLOAT | COMPLEX, {aten._neg_view.default: mx.negative})


def _angle(x):
    if x.dtype == mx.complex64:
        return mx.arctan2(mx.imag(x), mx.real(x))
    return mx.where(mx.isnan(x), x, mx.where(x < 0, math.pi, 0.0))


family.unary(
    ANY | COMPLEX, {aten.angle.default: _angle}, promotion=Promotion.INT_TO_FLOAT, whole=True
)


@family.op(aten.view_as_real.default, samples=draw(self=tensor("*S")), dtypes=COMPLEX, view=True)
def view_as_real(self):
    return mx.view(mx.expand_dims(self, -1), mx.float32)


@family.op(
    aten.view_as_complex.default,
    samples=draw(self=tensor("*S", 2)),
    dtypes=_REAL,
    rules=[Rank("self", 1)],
)
def view_as_complex(self):
    return mx.squeeze(mx.view(self, mx.complex64), -1)


@family.op(
    aten.complex.default,
    samples=draw(real=tensor("*S"), imag=tensor("*S")),
    dtypes=_REAL,
    whole=True,
)
def make_complex(real, imag):
    return view_as_complex(mx.stack(mx.broadcast_arrays(real, imag), -1))


@family.op(
    aten.polar.default,
    samples=draw(abs=tensor("*S"), angle=tensor("*S")),
    dtypes=_REAL,
    whole=True,
)
def polar(abs, angle):
    return make_complex(abs * mx.cos(angle), abs * mx.sin(angle))
