"""Fourier transforms.

`fft.*`, `stft` and `istft` arrive as these. torch scales by mode: 0 not at all, 1 by
1 / sqrt(n), 2 by 1 / n, where n counts the elements of all transformed axes.
"""

import torch

from mlx_coverage.registry.dtypes import COMPLEX
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import NonEmpty, Rank
from mlx_coverage.registry.samples import Choice, Size, draw, tensor
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("fourier")
_REAL = frozenset({torch.float32})
# torch dies of a negative one: `fft.*` counts them from the front.
_DIMS = Choice(((0,), (1,), (2,), (0, 2), (2, 1, 0)))
_MODES = Choice((0, 1, 2))
_SPREADS = (
    Limitation(
        "an infinity makes more of its line NaN, real and imaginary parts alike",
        "MLX multiplies complex numbers where torch's library leaves out factors of 1 and i",
        avoids="inf",
    ),
    Limitation(
        "a NaN in a real part makes the imaginary part NaN, and the other way round",
        "MLX multiplies complex numbers where torch's library leaves out factors of 1 and i",
        avoids="nan",
    ),
)
# MLX's names of the same scales, by direction.
_FORWARD = ("backward", "ortho", "forward")
_INVERSE = ("forward", "ortho", "backward")


@family.op(
    aten._fft_r2c.default,
    samples=draw(
        sizes={"L": (1, 9)},
        self=tensor("N", "L", "M"),
        dim=_DIMS,
        normalization=_MODES,
        onesided=Choice((True, False)),
    ),
    dtypes=_REAL,
    rules=[NonEmpty("self"), Rank("self", 1)],
    whole=True,
    limitations=_SPREADS,
)
def fft_r2c(self, dim, normalization, onesided):
    half = mx.fft.rfftn(self, axes=list(dim), norm=_FORWARD[normalization])
    if onesided:
        return half
    # The other half is conjugate, its frequencies counted from the end on every axis.
    *others, last = dim
    size, known = self.shape[last], half.shape[last]
    mirrored = mx.take(half, size - mx.arange(known, size), last)
    for axis in others:
        mirrored = mx.take(mirrored, -mx.arange(0, self.shape[axis]) % self.shape[axis], axis)
    return mx.concatenate([half, mx.conjugate(mirrored)], last)


@family.op(
    aten._fft_c2c.default,
    samples=draw(
        sizes={"L": (1, 9)},
        self=tensor("N", "L", "M"),
        dim=_DIMS,
        normalization=_MODES,
        forward=Choice((True, False)),
    ),
    dtypes=COMPLEX,
    rules=[NonEmpty("self"), Rank("self", 1)],
    whole=True,
    limitations=_SPREADS,
)
def fft_c2c(self, dim, normalization, forward):
    if forward:
        return mx.fft.fftn(self, axes=list(dim), norm=_FORWARD[normalization])
    return mx.fft.ifftn(self, axes=list(dim), norm=_INVERSE[normalization])


@family.op(
    aten._fft_c2r.default,
    samples=draw(
        sizes={"M": (2, 5)},
        self=tensor("N", "L", "M"),
        dim=Choice(((2,), (0, 2), (1, 0, 2))),
        normalization=_MODES,
        last_dim_size=Size("2*M-1"),
    ),
    dtypes=COMPLEX,
    rules=[NonEmpty("self"), Rank("self", 1)],
    whole=True,
)
def fft_c2r(self, dim, normalization, last_dim_size):
    sizes = [*(self.shape[axis] for axis in dim[:-1]), last_dim_size]
    return mx.fft.irfftn(self, sizes, list(dim), _INVERSE[normalization])
