"""Sizes: host numbers, and the arithmetic that export leaves between them.

Comparisons of sizes are not here: they only guard, and would specialise the program.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import Target
from mlx_coverage.registry.dtypes import BOOL, INTEGER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Predicate
from mlx_coverage.registry.samples import Integer, Samples, draw, tensor
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("sizes")


@family.op(aten.sym_size.int, view=True)
def sym_size(self, dim):
    return self.shape[dim]


@family.op(aten.sym_numel.default, view=True)
def sym_numel(self):
    return math.prod(self.shape)


@family.op(aten._local_scalar_dense.default, samples=draw(self=tensor()), dtypes=INTEGER | BOOL)
def local_scalar_dense(self):
    return mx.host_item(self)


_INTEGERS = Predicate(
    lambda call: all(isinstance(value, int | torch.SymInt) for value in call.arguments.values()),
    reasons.ARGUMENT_VALUE,
    "integers",
)

_SIZE = Integer(-40, 40)
_POSITIVE = Integer(1, 40)

_ARITHMETIC: dict[Target, tuple[Callable[..., Any], Samples]] = {
    operator.add: (lambda a, b: a + b, draw(a=_SIZE, b=_SIZE)),
    operator.sub: (lambda a, b: a - b, draw(a=_SIZE, b=_SIZE)),
    operator.mul: (lambda a, b: a * b, draw(a=_SIZE, b=_SIZE)),
    operator.floordiv: (lambda a, b: a // b, draw(a=_SIZE, b=_POSITIVE)),
    operator.mod: (lambda a, b: a % b, draw(a=_SIZE, b=_POSITIVE)),
    operator.pow: (lambda a, b: a**b, draw(a=_SIZE, b=Integer(0, 4))),
    operator.neg: (lambda a: -a, draw(a=_SIZE)),
    torch.sym_max: (lambda a, b: mx.host_max(a, b), draw(a=_SIZE, b=_SIZE)),
    torch.sym_min: (lambda a, b: mx.host_min(a, b), draw(a=_SIZE, b=_SIZE)),
}
for target, (function, samples) in _ARITHMETIC.items():
    family.add(target, function, samples=samples, rules=[_INTEGERS], view=True)
