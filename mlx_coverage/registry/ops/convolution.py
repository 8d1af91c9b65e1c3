"""Convolution: `conv1d`, `conv2d`, `conv3d` and their transposes arrive as `convolution`.

MLX is channels-last (input N...C, weight O...I), so data is transposed in and out, and a
constant weight once, at lowering.
"""

import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import NonEmpty, Rank, SameDtype, Static
from mlx_coverage.registry.samples import Choice, Samples, Size, Sizes, tensor
from mlx_coverage.registry.shapes import expand_list, is_same_size, slice_axis
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("convolution")
_WHY = "MLX passes over the padding, which torch multiplies with the weight"


def _to_channels_last(a):
    return mx.transpose(a, [0, *range(2, a.ndim), 1])


def _transpose_weight(weight, groups):
    """(I, O/groups, ...) of a transposed convolution as (O, I/groups, ...)."""
    inputs, outputs, *window = weight.shape
    split = mx.reshape(weight, [groups, inputs // groups, outputs, *window])
    return mx.reshape(mx.swapaxes(split, 1, 2), [groups * outputs, inputs // groups, *window])


@family.op(
    aten.convolution.default,
    samples=Samples(
        {
            "input": tensor("N", "G*I", "*S"),
            "weight": tensor("G*I", "I", "*K"),
            "bias": tensor("G*I", optional=True),
            "stride": Sizes("*S", low=1, high=3),
            "padding": Sizes("*S", low=0, high=2),
            "dilation": Sizes("*S", low=1, high=2),
            "transposed": Choice((False, True)),
            "output_padding": Sizes("*S", low=0, high=1),
            "groups": Size("G"),
        },
        sizes={"N": (0, 2), "G": (1, 2), "I": (1, 3), "*S": (3, 7), "*K": (1, 3)},
        groups={"*K": "*S"},
    ),
    dtypes=FLOAT,
    rules=[
        SameDtype(("input", "weight", "bias")),
        Rank("input", 3, 5),
        Static("weight"),
        NonEmpty("weight"),
        *map(Static, ("stride", "padding", "dilation", "output_padding")),
    ],
    limitations=(
        Limitation(
            "a NaN in the weight does not reach windows that lie in the padding", _WHY, avoids="nan"
        ),
        Limitation("an infinity in the weight gives no NaN in the padding", _WHY, avoids="inf"),
        Limitation(
            "float16 and bfloat16 results are rounded once more before the bias is added",
            "MLX's convolution takes no bias, and gives the dtype of its input",
            dtypes=FLOAT - {torch.float32},
            avoids="rounding",
        ),
    ),
)
def convolution(
    input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
):  # fmt: skip
    spatial = input.ndim - 2
    stride, padding, dilation, output_padding = (
        expand_list(values, spatial) for values in (stride, padding, dilation, output_padding)
    )
    x, crop = _to_channels_last(input), [(0, 0)] * spatial
    if transposed:
        # The same sum as a convolution of the stretched input with the window reversed.
        low = [d * (k - 1) - p for d, k, p in zip(dilation, weight.shape[2:], padding, strict=True)]
        high = [a + b for a, b in zip(low, output_padding, strict=True)]
        sizes = [
            (size - 1) * s + a + b + 1 - d * (k - 1)
            for size, s, a, b, d, k in zip(
                input.shape[2:], stride, low, high, dilation, weight.shape[2:], strict=True
            )
        ]
        weight = _transpose_weight(weight, groups)
        # MLX pads by less than nothing before it stretches; cropping the result is the same.
        crop = [(max(-a, 0), max(-b, 0)) for a, b in zip(low, high, strict=True)]
        low, high = ([max(p, 0) for p in pads] for pads in (low, high))
        steps, stretch = [1] * spatial, stride
        if any(is_same_size(size, 0) for size in sizes):  # torch's smallest result, MLX's error
            return mx.zeros([input.shape[0], weight.shape[0], *sizes], input.dtype)
    else:
        low, high = padding, padding
        steps, stretch = stride, [1] * spatial
    weight = mx.contiguous(_to_channels_last(weight))
    # MLX has groups in one and two dimensions only.
    parts = groups if spatial == 3 else 1
    results = [
        mx.conv_general(
            part,
            window,
            stride=steps,
            padding=(low, high),
            kernel_dilation=dilation,
            input_dilation=stretch,
            groups=groups // parts,
            flip=transposed,
        )
        for part, window in zip(_split(x, parts, -1), _split(weight, parts, 0), strict=True)
    ]
    result = results[0] if parts == 1 else mx.concatenate(results, -1)
    for axis, (first, last) in enumerate(crop, start=1):
        if first or last:
            result = slice_axis(result, axis, first, result.shape[axis] - last)
    if bias is not None:
        result = result + bias
    return mx.transpose(result, [0, spatial + 1, *range(1, spatial + 1)])


def _split(a, parts, axis):
    return [a] if parts == 1 else mx.split(a, parts, axis)
