"""Layer, RMS, group and batch normalisation, in float32 whatever the input."""

from typing import Any

import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, Range, Rank
from mlx_coverage.registry.samples import Choice, Number, Shape, Size, draw, tensor
from mlx_coverage.registry.shapes import count_elements
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("normalization")


def _widen(*arrays):
    return [a if a is None else mx.astype(a, mx.float32) for a in arrays]


def _statistics(x, axes, eps):
    """Mean and reciprocal deviation; the variance from differences, which do not cancel."""
    mean = mx.mean(x, axes, keepdims=True)
    return mean, mx.rsqrt(mx.mean(mx.square(x - mean), axes, keepdims=True) + eps)


_INFINITE_WEIGHT = Limitation(
    "an infinite weight gives other infinities and NaN than in torch",
    "torch multiplies the input by weight * deviation and adds the rest, which is NaN there and "
    "loses digits elsewhere; here the weight multiplies the normalised value",
    avoids="inf",
)

_OVERFLOW = Limitation(
    "a variance beyond float32 gives 0 where torch gives NaN, or 1 in a batch norm",
    "torch's kernels subtract two overflowing sums, or sum in float64",
    avoids="overflow",
)
_INFINITE_MEAN = Limitation(
    "the mean of a row with infinities is infinite",
    "torch gives an infinity or NaN, by the number of columns",
    avoids="inf",
)


def _floats(*names):
    return [Dtype(name, FLOAT) for name in names]


_EPS = Number(2.0**-20, 2.0**-7)
_LAYER: dict[str, Any] = {
    "input": tensor("*B", "M", "K"),
    "normalized_shape": Shape(("M", "K")),
    "weight": tensor("M", "K", optional=True),
}
_LAYER_SIZES = {"M": (1, 3), "K": (1, 9)}


def _normalize_last(input, normalized_shape, function):
    """Apply `function` to `input` with the normalised dimensions flattened into the last."""
    kept = input.shape[: input.ndim - len(normalized_shape)]
    x = mx.astype(input, mx.float32)
    if len(normalized_shape) == 1:
        return function(x)
    flat = mx.reshape(x, [*kept, count_elements(normalized_shape)])
    return mx.reshape(function(flat), input.shape)


def _flatten(array):
    return None if array is None else mx.reshape(mx.astype(array, mx.float32), (-1,))


@family.op(
    aten.layer_norm.default,
    samples=draw(
        sizes=_LAYER_SIZES, **_LAYER, bias=tensor("M", "K", optional=True), eps=_EPS
    ),
    rules=[*_floats("input", "weight", "bias"), Range("normalized_shape", low=1)],
    whole=True,
    limitations=(_INFINITE_WEIGHT, _OVERFLOW),
)  # fmt: skip
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True):
    scale, shift = _flatten(weight), _flatten(bias)
    return _normalize_last(
        input, normalized_shape, lambda x: mx.fast.layer_norm(x, scale, shift, eps)
    )


@family.op(
    aten.native_layer_norm.default,
    samples=draw(
        sizes=_LAYER_SIZES, **_LAYER, bias=tensor("M", "K", optional=True), eps=_EPS
    ),
    rules=[*_floats("input", "weight", "bias"), Range("normalized_shape", low=1)],
    limitations=(_INFINITE_MEAN, _OVERFLOW),
)  # fmt: skip
def native_layer_norm(input, normalized_shape, weight, bias, eps):
    axes = list(range(input.ndim - len(normalized_shape), input.ndim))
    statistics = _statistics(mx.astype(input, mx.float32), axes, eps)
    return layer_norm(input, normalized_shape, weight, bias, eps), *statistics


@family.op(
    aten.rms_norm.default,
    samples=draw(sizes=_LAYER_SIZES, **_LAYER, eps=Number(2.0**-20, 2.0**-7, optional=True)),
    rules=[*_floats("input", "weight"), Range("normalized_shape", low=1)],
    whole=True,
)
def rms_norm(input, normalized_shape, weight=None, eps=None):
    # torch's default is the epsilon of the dtype in which it computes.
    eps, scale = 2.0**-23 if eps is None else eps, _flatten(weight)
    return _normalize_last(input, normalized_shape, lambda x: mx.fast.rms_norm(x, scale, eps))


def _scale_channels(x, weight, bias):
    """`x * weight + bias`, both along dimension 1."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    if weight is not None:
        x = x * mx.reshape(mx.astype(weight, mx.float32), shape)
    return x if bias is None else x + mx.reshape(mx.astype(bias, mx.float32), shape)


@family.op(
    aten.group_norm.default,
    samples=draw(
        sizes={"N": (1, 3), "G": (1, 3), "K": (1, 3), "*S": (1, 4)},
        groups={"*S": (0, 3)},
        input=tensor("N", "G*K", "*S"),
        num_groups=Size("G"),
        weight=tensor("G*K", optional=True),
        bias=tensor("G*K", optional=True),
        eps=_EPS,
    ),
    rules=[*_floats("input", "weight", "bias"), NonEmpty("input"), Rank("input", 2)],
    limitations=(_INFINITE_WEIGHT, _OVERFLOW),
    whole=True,
)
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
    rows = _group_rows(input, num_groups)
    normal = mx.reshape(mx.fast.layer_norm(rows, None, None, eps), input.shape)
    return _scale_channels(normal, weight, bias)


def _group_rows(input, groups):
    length = count_elements(input.shape[1:]) // groups
    return mx.reshape(mx.astype(input, mx.float32), [input.shape[0], groups, length])


@family.op(
    aten.native_group_norm.default,
    samples=draw(
        sizes={"B": (1, 3), "G": (1, 3), "K": (1, 3), "H": (1, 4), "W": (1, 4)},
        input=tensor("B", "G*K", "H", "W"),
        weight=tensor("G*K", optional=True),
        bias=tensor("G*K", optional=True),
        N=Size("B"),
        C=Size("G*K"),
        HxW=Size("H*W"),
        group=Size("G"),
        eps=_EPS,
    ),
    rules=[*_floats("input", "weight", "bias"), NonEmpty("input"), Rank("input", 2)],
    limitations=(_INFINITE_WEIGHT, _OVERFLOW),
)
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    mean, deviation = _statistics(_group_rows(input, group), 2, eps)
    result = group_norm(input, group, weight, bias, eps)
    return result, mx.squeeze(mean, 2), mx.squeeze(deviation, 2)


_BATCH: dict[str, Any] = {
    "input": tensor("N", "C", "*S"),
    "weight": tensor("C", optional=True),
    "bias": tensor("C", optional=True),
}


@family.op(
    aten._native_batch_norm_legit_no_training.default,
    samples=draw(
        sizes={"C": (1, 4)},
        groups={"*S": (0, 3)},
        **_BATCH,
        running_mean=tensor("C"),
        running_var=tensor("C", low=0.0, high=1e4),
        momentum=Number(0, 1),
        eps=_EPS,
    ),
    rules=[
        *_floats("input", "weight", "bias", "running_mean", "running_var"),
        Rank("input", 2),
    ],
    limitations=(
        _INFINITE_WEIGHT,
        Limitation(
            "a subnormal weight scales with the few digits that it has, or as zero",
            "torch's kernel for operands that are not contiguous multiplies by it last",
            avoids="subnormal",
        ),
    ),
)
def batch_norm_no_training(input, weight, bias, running_mean, running_var, momentum, eps):
    weight, bias, mean, variance = _widen(weight, bias, running_mean, running_var)
    # As torch: one multiplication and one addition, both operands constants of the program.
    scale = mx.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    unused = mx.zeros((0,), mx.float32)
    return _scale_channels(mx.astype(input, mx.float32), scale, shift), unused, unused


@family.op(
    aten._native_batch_norm_legit.no_stats,
    samples=draw(
        sizes={"N": (2, 3), "C": (1, 4), "*S": (1, 4)},
        groups={"*S": (0, 3)},
        **_BATCH,
        training=Choice((True,)),
        momentum=Number(0, 1),
        eps=_EPS,
    ),
    rules=[*_floats("input", "weight", "bias"), NonEmpty("input"), Rank("input", 2)],
    limitations=(_INFINITE_WEIGHT, _OVERFLOW),
)
def batch_norm_no_stats(input, weight, bias, training, momentum, eps):
    x = mx.astype(input, mx.float32)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    mean, deviation = _statistics(x, axes, eps)
    result = _scale_channels((x - mean) * deviation, weight, bias)
    return result, mx.reshape(mean, (-1,)), mx.reshape(deviation, (-1,))


family.gap(
    "the model is in training mode, where batch norm also updates its running statistics; call "
    "model.eval() before exporting",
    aten._native_batch_norm_legit_functional.default,
)
