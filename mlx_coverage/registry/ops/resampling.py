"""Pictures of bytes resized along one axis, in the fixed-point numbers of torch's CPU kernels.

Weights are computed in float64 and rounded to 16 bits at a precision chosen for the axis; each
axis rounds to bytes (`aten/src/ATen/native/cpu/UpSampleKernel.cpp`, after Pillow).
"""

import math
from functools import partial

import numpy as np

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.shapes import is_same_size, place_outputs

_BITS = 15  # of a weight, its sign apart
_MOST = 22  # bits behind the point


def resample(x, axis, count, factor, align_corners, kernel, reach, antialias=False):
    """The bytes `x` with `count` elements along an axis.

    `kernel` is a function of distances in elements, 0 beyond `reach`. Dynamic sizes are exact
    for tents and Keys' kernel without antialiasing, while count is below 2**14.
    """
    size = x.shape[axis]
    if is_same_size(count, size):
        return x
    if _is_known(size, count):
        scale = _find_scale(size, count, factor, align_corners)
        tabulate = _filter if antialias else partial(_interpolate, align_corners=align_corners)
        places, weights, largest = tabulate(size, count, scale, kernel=kernel, reach=reach)
        precision = _choose_precision(largest)
        half = 2 ** (precision - 1)
        weights = np.trunc(weights * 2**precision + np.copysign(0.5, weights))
        places = mx.array(places.tolist(), mx.int32)
        weights = mx.array(weights.astype(np.int64).tolist(), mx.int32)
    else:
        places, weights, precision = _weigh_dynamic(size, count, factor, align_corners, reach)
        half = mx.left_shift(1, precision - 1)
    shape = [1] * (x.ndim + 1)
    shape[axis : axis + 2] = weights.shape
    terms = mx.take(mx.astype(x, mx.int32), places, axis) * mx.reshape(weights, shape)
    total = mx.right_shift(mx.sum(terms, axis + 1) + half, precision)
    return mx.astype(mx.clip(total, 0, 255), mx.uint8)


def _is_known(*sizes):
    return all(type(size) is int for size in sizes)


def tent(distance):
    """The kernel of linear interpolation, which reaches 1."""
    return np.maximum(1.0 - np.abs(distance), 0.0)


def keys(distance, a):
    """Keys' cubic kernel, which reaches 2."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _find_scale(size, count, factor, align_corners):
    """Input elements per output element."""
    if align_corners:
        return (size - 1) / (count - 1) if count > 1 else 0.0
    return 1.0 / factor if factor is not None and factor > 0 else size / count


def _choose_precision(largest):
    """The bits behind the point with which the largest weight fills 16 bits."""
    precision = 0
    while precision < _MOST and int(0.5 + largest * 2 ** (precision + 1)) < 2**_BITS:
        precision += 1
    return precision


def _filter(size, count, scale, kernel, reach):
    """Antialiased: places and weights (count, taps), and the largest weight."""
    support = reach * max(scale, 1.0)
    taps = 2 * math.ceil(support) + 1
    centre = scale * (np.arange(count) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    past = np.minimum((centre + support + 0.5).astype(np.int64), size)
    places = first[:, None] + np.arange(taps)
    weights = kernel((places - centre[:, None] + 0.5) * (1.0 / max(scale, 1.0)))
    weights = np.where(places < past[:, None], weights, 0.0)
    total = np.cumsum(weights, axis=1)[:, -1:]  # one after another, as torch adds
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total != 0)
    return np.minimum(places, size - 1), weights, weights.max()


def _interpolate(size, count, scale, align_corners, kernel, reach):
    """Not antialiased: places and weights (count, 2 * reach), and the largest partial sum."""
    index = np.arange(count)
    position = scale * index if align_corners else scale * (index + 0.5) - 0.5
    position = position if reach > 1 else np.maximum(position, 0.0)
    low = np.floor(position.astype(np.float32)).astype(np.int64)  # float32, as torch has it
    low = np.minimum(low, size - 1)
    fraction = np.clip(position - low, 0.0, 1.0)
    weights = [kernel(step - fraction) for step in range(1 - reach, 1 + reach)]
    places, sums, weights = _merge(np, low, weights, size)
    return places, weights, max(part.max() for part in sums)


def _merge(functions, low, weights, size):
    """Places and weights (count, taps), those beyond an end added to the end's; partial sums."""
    where, first = functions.where, 1 - len(weights) // 2
    places = [
        functions.minimum(functions.maximum(low + first + step, 0), size - 1)
        for step in range(len(weights))
    ]
    sums = weights[:1]
    for place, before, weight in zip(places[1:], places, weights[1:], strict=False):
        sums.append(weight + where(place == before, sums[-1], 0))
    kept = [
        where(place == after, 0, part)
        for place, after, part in zip(places, places[1:], sums, strict=False)
    ]
    return functions.stack(places, 1), sums, functions.stack([*kept, sums[-1]], 1)


def _weigh_dynamic(size, count, factor, align_corners, reach):
    """Places, weights (count, 2 * reach) and their precision, in integers: float64 is CPU only."""
    above, below = place_outputs(size, count, factor, align_corners)
    above = mx.astype(above if reach > 1 else mx.maximum(above, 0), mx.int64)
    below = mx.array(below, mx.int64)
    low = (above + below) // below - 1  # no division of a negative number
    rest = mx.astype(above - low * below, mx.float32) / mx.astype(below, mx.float32)
    low = mx.astype(mx.floor(mx.astype(low, mx.float32) + rest), mx.int64)
    low = mx.minimum(low, size - 1)
    rest = mx.minimum(mx.maximum(above - low * below, 0), below)
    if reach == 1:
        unit, weights = below, [below - rest, rest]
    else:
        unit, weights = 4 * below * below * below, _weigh_cubic(rest, below)
    places, sums, weights = _merge(mx, low, weights, size)
    largest = mx.max(mx.stack(sums, 0))
    precision = mx.where(largest * 2 ** (_BITS + 1) < unit * (2 ** (_BITS + 1) - 1), 15, 14)
    rounded = (mx.abs(weights) * mx.left_shift(2, precision) + unit) // (2 * unit)
    weights = mx.where(weights < 0, -rounded, rounded)
    return places, mx.astype(weights, mx.int32), mx.astype(precision, mx.int32)


def _weigh_cubic(t, b):
    """Keys' kernel with a = -0.75 at the four neighbours of t / b, in units of 1 / (4 b^3)."""

    def near(d):
        return (5 * d - 9 * b) * d * d + 4 * b * b * b

    def far(d):
        return 3 * (((5 * b - d) * d - 8 * b * b) * d + 4 * b * b * b)

    return [far(b + t), near(t), near(b - t), far(2 * b - t)]
