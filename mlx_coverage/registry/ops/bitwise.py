"""Bitwise functions of two tensors, or of a tensor and a number."""

import torch

from mlx_coverage.registry.dtypes import BOOL, INTEGER
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import converted, of_arrays
from mlx_coverage.registry.rules import Dtype
from mlx_coverage.registry.samples import Number, draw, tensor
from mlx_coverage.registry.spec import Family, Promotion

aten = torch.ops.aten
family = Family("bitwise")


def _declare_of_number(packet, function, dtypes):
    def of_number(self, other):
        return function(self, other)

    family.add(
        packet.Scalar_Tensor,
        of_number,
        samples=draw(self=Number(), other=tensor("*S")),
        rules=[Dtype("other", dtypes)],
        promotion=Promotion.DEFAULT,
        whole=True,
    )


for function, packet in (
    (mx.bitwise_and, aten.bitwise_and),
    (mx.bitwise_or, aten.bitwise_or),
    (mx.bitwise_xor, aten.bitwise_xor),
):
    row = converted(function)
    family.binary(INTEGER | BOOL, {packet.Scalar: row, packet.Tensor: row})
    _declare_of_number(packet, row, INTEGER | BOOL)


def _shift_left(a, b):
    outside = (b < 0) | (b >= 8 * a.dtype.size)
    return mx.where(outside, 0, mx.left_shift(a, mx.where(outside, 0, b)))


def _shift_right(a, b):
    last = 8 * a.dtype.size - 1
    outside = (b < 0) | (b > last)
    # Shifting by all bits leaves the sign: two steps, as one is undefined.
    shifted = mx.right_shift(a, mx.where(outside, last, b))
    return mx.where(outside, mx.right_shift(shifted, 1), shifted)


family.binary(
    INTEGER,
    {
        aten.bitwise_left_shift.Tensor: of_arrays(_shift_left),
        aten.bitwise_left_shift.Tensor_Scalar: of_arrays(_shift_left),
        aten.__lshift__.Tensor: of_arrays(_shift_left),
        aten.__lshift__.Scalar: of_arrays(_shift_left),
        aten.bitwise_right_shift.Tensor: of_arrays(_shift_right),
        aten.bitwise_right_shift.Tensor_Scalar: of_arrays(_shift_right),
        aten.__rshift__.Tensor: of_arrays(_shift_right),
        aten.__rshift__.Scalar: of_arrays(_shift_right),
    },
    whole=True,  # as all ops here that ExecuTorch neither knows as core nor decomposes
)
_declare_of_number(aten.bitwise_left_shift, of_arrays(_shift_left), INTEGER)
_declare_of_number(aten.bitwise_right_shift, of_arrays(_shift_right), INTEGER)
