"""Softmax and its logarithm; halves are computed in float32."""

from typing import Any

import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, OneOf
from mlx_coverage.registry.samples import Choice, Dim, elementwise
from mlx_coverage.registry.spec import Family

aten = torch.ops.aten
family = Family("softmax")
_DOMAIN: dict[str, Any] = {
    "samples": elementwise(dim=Dim(), half_to_float=Choice((False,))),
    "rules": [Dtype("self", FLOAT), OneOf("half_to_float", (False,))],
}


@family.op(aten._softmax.default, **_DOMAIN)
def softmax(self, dim, half_to_float):
    if self.ndim == 0:
        return mx.squeeze(mx.softmax(mx.expand_dims(self, 0), 0))
    return mx.softmax(self, dim, precise=True)


@family.op(aten._log_softmax.default, **_DOMAIN)
def log_softmax(self, dim, half_to_float):
    x = mx.astype(self, mx.float32)
    axis = None if self.ndim == 0 else dim
    if any(size == 0 for size in self.shape):
        return x
    # Shifted first: x - logsumexp(x) loses the digits of a result near zero.
    shifted = x - mx.max(x, axis, keepdims=True)
    return shifted - mx.logsumexp(shifted, axis, keepdims=True)
