"""Weights of a few bits, as the weight-only quantization of torchao leaves them.

`torchao::dequantize_affine` is rewritten as an op of ours, which knows how many bits count;
where a product or a look-up reads it, both are one call on the packed weight.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from mlx_coverage.registry import reasons
from mlx_coverage.registry.dtypes import FLOAT, INDEX, SIGNED
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import (
    Constant,
    Dtype,
    NonEmpty,
    OneOf,
    Predicate,
    Rank,
    Rule,
    SameDtype,
    Static,
)
from mlx_coverage.registry.samples import Choice, draw, tensor
from mlx_coverage.registry.spec import Family, Limitation, define_op

aten = torch.ops.aten
family = Family("quantization")

_BITS = (2, 4, 8)
_WORD = 32  # bits in which MLX packs weights
_GROUPS = (128, 64, 32)  # columns for which MLX takes one scale


def dequantize_weight(
    weight: Tensor, scale: Tensor, zero_point: Tensor | None, bits: int
) -> Tensor:
    """The numbers that a quantized weight stands for.

    Args:
        weight: int8 (rows, columns); the lowest `bits` bits of each are a signed number.
        scale: (rows, groups), for equal groups of neighbouring columns; its dtype is the result's.
        zero_point: (rows, groups), the number that stands for 0; None for 0 itself.
        bits: 2, 4 or 8.
    """
    unused = 8 - bits
    values = (weight << unused >> unused).to(scale.dtype)
    values = values.reshape(*scale.shape, weight.shape[1] // scale.shape[1])
    if zero_point is not None:
        values = values - zero_point.to(scale.dtype).unsqueeze(-1)
    return (values * scale.unsqueeze(-1)).reshape(weight.shape)


_DEQUANTIZE = define_op(dequantize_weight)


@family.decomposition("torchao::dequantize_affine")
def dequantize_affine(
    input,
    block_size,
    scale,
    zero_point,
    input_dtype,
    quant_min=None,
    quant_max=None,
    output_dtype=torch.float32,
):
    grouped = input.dim() == scale.dim() == 2 and block_size == [
        1,
        input.shape[1] // scale.shape[1],
    ]
    bits = _count_bits(quant_min, quant_max)
    if not grouped or input_dtype != torch.int8 or output_dtype != scale.dtype or bits is None:
        return _call_torchao(
            "dequantize_affine",
            input, block_size, scale, zero_point, input_dtype, quant_min, quant_max, output_dtype,
        )  # fmt: skip
    return _DEQUANTIZE(input, scale, zero_point, bits)


def _call_torchao(name, *args, **kwargs):
    """The op's own kernel: its `decompose` would call what stands in for it here."""
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return getattr(torch.ops.torchao, name).default._op_dk(composite, *args, **kwargs)


# Of activations, at run time: ExecuTorch would keep them whole, and has no kernel.
for name in ("choose_qparams_affine", "quantize_affine"):
    family.decomposition(f"torchao::{name}")(partial(_call_torchao, name))


def _count_bits(low, high):
    """The least number of bits for signed numbers from `low` to `high`."""
    if low is None or high is None:
        return 8  # all that int8 holds
    fitting = (bits for bits in _BITS if -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1))
    return next(fitting, None)


_RULES: list[Rule] = [
    Dtype("weight", frozenset({torch.int8})),
    Dtype("scale", FLOAT),
    Dtype("zero_point", SIGNED),
    *(Rank(name, 2, 2) for name in ("weight", "scale", "zero_point")),
    OneOf("bits", _BITS),
]
_PACKED: list[Rule] = [
    *_RULES,
    *(Constant(name) for name in ("weight", "scale", "zero_point")),
    Predicate(
        lambda call: _is_grouped(
            call.tensors("weight")[0].shape[-1], call.tensors("scale")[0].shape[-1]
        ),
        reasons.ARGUMENT_VALUE,
        f"a scale for each {_GROUPS[-1]} columns of `weight`, or for a multiple of that",
        "scale",
    ),
]
# MLX divides by the number of results (docs/findings); a dynamic size of 0 is the runtime's.
_FILLED: list[Rule] = [NonEmpty("input"), NonEmpty("weight")]


def _is_grouped(columns, groups):
    return columns > 0 and columns % (_GROUPS[-1] * groups) == 0


def _draw_weight(columns: str) -> dict[str, Any]:
    return {
        "weight": tensor("N", columns, dtype=("int8",)),
        "scale": tensor("N", "G"),
        "zero_point": tensor("N", "G", dtype=("int8", "int32"), optional=True, low=-128, high=127),
        "bits": Choice(_BITS),
    }


_SIZES = {"N": (1, 5), "G": (1, 3), "S": (1, 5)}


@family.op(
    _DEQUANTIZE,
    samples=draw(_SIZES, **_draw_weight("S*G")),
    # The size of a group is their quotient.
    rules=[*_RULES, Static("weight", first=1), Static("scale", first=1)],
)
def dequantize(weight, scale, zero_point, bits):
    """dequantize_weight(Tensor weight, Tensor scale, Tensor? zero_point, SymInt bits) -> Tensor"""
    unused = 8 - bits
    values = mx.right_shift(mx.left_shift(weight, unused), unused)
    return _scale(values, scale, zero_point)


def _scale(values, scale, zero_point):
    """Integers (..., columns) as the numbers that they stand for, as torch rounds them."""
    size = values.shape[-1] // scale.shape[-1]
    grouped = mx.astype(mx.reshape(values, [*scale.shape, size]), scale.dtype)
    if zero_point is not None:
        grouped = grouped - mx.expand_dims(mx.astype(zero_point, scale.dtype), -1)
    return mx.reshape(grouped * mx.expand_dims(scale, -1), values.shape)


def quantized_embedding(
    weight: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    bits: int,
    indices: Tensor,
    padding_idx: int,
) -> Tensor:
    """Rows of a quantized table, in the dtype of `scale`."""
    table = _DEQUANTIZE(weight, scale, zero_point, bits)
    rows: Tensor = aten.embedding.default(table, indices, padding_idx)
    return rows


@family.pattern(
    quantized_embedding,
    samples=draw(
        _SIZES,
        **_draw_weight("32*S*G"),
        indices=tensor("*B", dtype=("int32", "int64"), below="N"),
        padding_idx=Choice((-1, 0)),
    ),
    rules=[*_PACKED, Dtype("indices", INDEX)],
    anchor=_DEQUANTIZE,
)
def look_up(weight, scale, zero_point, bits, indices):
    """quantized_embedding(Tensor weight, Tensor scale, Tensor? zero_point, SymInt bits, Tensor indices, SymInt padding_idx) -> Tensor"""  # noqa: E501
    words = mx.expand_dims(mx.take(_pack(weight, bits), indices, 0), -1)
    codes = mx.right_shift(words, _list_places(bits)) & (2**bits - 1)
    values = mx.astype(codes, mx.int32) - 2 ** (bits - 1)
    values = mx.reshape(values, [*indices.shape, weight.shape[1]])
    if zero_point is not None:
        zero_point = mx.take(zero_point, indices, 0)
    return _scale(values, mx.take(scale, indices, 0), zero_point)


def quantized_linear(
    input: Tensor,
    weight: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    bits: int,
    bias: Tensor | None,
) -> Tensor:
    """`torch.nn.functional.linear` with a quantized weight."""
    numbers = _DEQUANTIZE(weight, scale, zero_point, bits)
    product: Tensor = aten.linear.default(input, numbers, bias)
    return product


@family.pattern(
    quantized_linear,
    samples=draw(
        _SIZES,
        input=tensor("*B", "32*S*G"),
        **_draw_weight("32*S*G"),
        bias=tensor("N", optional=True),
    ),
    anchor=_DEQUANTIZE,
    rules=[
        *_PACKED,
        *_FILLED,
        Dtype("input", FLOAT),
        SameDtype(("input", "scale", "bias")),
        Rank("input", 1),
        Rank("bias", 1, 1),
    ],
    limitations=(
        Limitation(
            "in float32 a weight is out by as much as a rounding of the largest of its bits",
            "MLX forms it as scale * code + bias, where the bias cancels most of the product",
            dtypes=frozenset({torch.float32}),
            avoids="rounding",
        ),
        Limitation(
            "a scale that is infinite, or so large that its product with a code is, gives NaN",
            "MLX adds a bias of the other sign, which is infinite, too",
            avoids="inf",
        ),
        Limitation(
            "inputs near the largest number give an infinity or NaN where torch's sum is smaller",
            "MLX sums products with the codes, which are up to 255, and their bias apart",
            avoids="overflow",
        ),
    ),
)
def multiply(input, weight, scale, zero_point, bits, bias):
    """quantized_linear(Tensor input, Tensor weight, Tensor scale, Tensor? zero_point, SymInt bits, Tensor? bias) -> Tensor"""  # noqa: E501
    result = _multiply(input, weight, scale, zero_point, bits)
    return result if bias is None else result + bias


def scaled_int8_product(input: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """A product with int8 rows, each scaled afterwards, as torchao writes int8 weights alone."""
    return torch.mm(input, weight.t().to(input.dtype)) * scale


@family.pattern(
    scaled_int8_product,
    samples=draw(
        {**_SIZES, "D": (1, 2)},
        input=tensor("B", "32*S//D"),
        weight=tensor("N", "32*S//D", dtype=("int8",)),
        scale=tensor("N"),
    ),
    anchor=aten.mm.default,
    rules=[
        *_FILLED,
        Dtype("input", FLOAT),
        SameDtype(("input", "scale")),
        Rank("scale", 1, 1),
        Dtype("weight", frozenset({torch.int8})),
        Rank("weight", 2, 2),
        Constant("weight"),
        Predicate(
            lambda call: _is_grouped(call.tensors("weight")[0].shape[-1], 1),
            reasons.ARGUMENT_VALUE,
            f"a multiple of {_GROUPS[-1]} columns of `weight`",
            "weight",
        ),
    ],
)
def multiply_int8(input, weight, scale):
    """scaled_int8_product(Tensor input, Tensor weight, Tensor scale) -> Tensor"""
    # Whole numbers until the end, as in torch: exact, and what overflows is the same.
    whole = mx.ones([weight.shape[0], 1], mx.float32)
    return _multiply(input, weight, whole, None, 8) * scale


def _multiply(input, weight, scale, zero_point, bits):
    """`input` times the transposed weight, in float32."""
    # MLX computes in the dtype of the scales: in halves its error is several times torch's.
    scales = mx.astype(scale, mx.float32)
    lowest = -(2 ** (bits - 1))
    biases = scales * (lowest if zero_point is None else lowest - mx.astype(zero_point, mx.float32))
    own = weight.shape[1] // scale.shape[1]
    size = next(size for size in _GROUPS if own % size == 0)
    if own > size:
        scales, biases = (mx.repeat(a, own // size, 1) for a in (scales, biases))
    return mx.quantized_matmul(
        input, _pack(weight, bits), scales, biases, transpose=True, group_size=size, bits=bits
    )


def _pack(weight, bits):
    """The lowest bits of each number, less the lowest number, in words of 32 bits."""
    codes = (mx.astype(weight, mx.int32) + 2 ** (bits - 1)) & (2**bits - 1)
    columns = weight.shape[1] * bits // _WORD
    codes = mx.reshape(mx.astype(codes, mx.uint32), [weight.shape[0], columns, _WORD // bits])
    return mx.sum(mx.left_shift(codes, _list_places(bits)), -1)


def _list_places(bits):
    return mx.arange(0, _WORD, bits, mx.uint32)
