"""Small models of the kinds that people export, and what is expected of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from mlx_coverage.analyze.load import Exportable


class Apply(nn.Module):
    """A function of the inputs, with buffers at hand."""

    def __init__(self, function: Callable[..., Any], **buffers: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


@dataclass(frozen=True)
class Idiom:
    """A program, and what becomes of it.

    Attributes:
        methods: makes the modules anew, each with its example inputs.
        partitions: delegates of each method; None where ExecuTorch refuses the program.
        says: part of the refusal, or of the only finding.
        whole: whether nothing falls back.
    """

    methods: Callable[[], Mapping[str, Exportable]]
    partitions: int | None = 1
    says: str = ""
    whole: bool = True


def apply(
    function: Callable[..., Any], *inputs: Tensor, dynamic: Any = None, **buffers: Tensor
) -> Callable[[], dict[str, Exportable]]:
    """One method that applies a function."""

    def make() -> dict[str, Exportable]:
        module = Apply(function, **{name: value.clone() for name, value in buffers.items()})
        shapes = None if dynamic is None else {"inputs": dynamic}
        return {"forward": Exportable(module.eval(), inputs, dynamic_shapes=shapes)}

    return make


def seed(*shape: int) -> Tensor:
    """Numbers around zero, the same in every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def swap(m: Apply, x: Tensor) -> Tensor:
    kept = m.a.clone()
    m.a.copy_(m.b)
    m.b.copy_(kept)
    return x + m.a


def shift(m: Apply, x: Tensor) -> Tensor:
    m.older.copy_(m.old)
    m.old.copy_(x)
    return m.older * 2


class Counter(nn.Module):
    """A count that several methods use."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(3))


class Step(nn.Module):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def forward(self, x: Tensor) -> Tensor:
        self.counter.n.add_(x)
        return self.counter.n * 1


class Reset(Step):
    def forward(self, x: Tensor) -> Tensor:
        self.counter.n.zero_()
        return self.counter.n + x


class Read(Step):
    def forward(self, x: Tensor) -> Tensor:
        return self.counter.n + x


def make_counter() -> dict[str, Exportable]:
    counter, one = Counter(), (torch.ones(3),)
    return {
        "step": Exportable(Step(counter).eval(), one),
        "reset": Exportable(Reset(counter).eval(), one),
        "read": Exportable(Read(counter).eval(), one),
    }


class Returned(nn.Module):
    """A parameter that is also returned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.table = nn.Embedding(5, 4)

    def forward(self, x: Tensor, i: Tensor) -> tuple[Tensor, ...]:
        return x * self.scale, self.scale, self.table(i), self.table.weight


class Laid(nn.Module):
    """Constants that are views: transposed, expanded, and no buffer at all."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("t", seed(4, 3).t(), persistent=False)
        self.register_buffer("e", seed(1, 4).expand(3, 4), persistent=False)
        self.h = seed(4, 3).half().t()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x + self.t, x * self.e, x + self.h


class Mapped(nn.Module):
    """Transforms of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.vmap(self.linear)(x), torch.func.jvp(torch.sin, (x,), (x,))[1]


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(10, 3, mode="sum", include_last_offset=True)

    def forward(self, i: Tensor, o: Tensor, w: Tensor) -> Tensor:
        return self.bag(i, o, per_sample_weights=w)


class HalfInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        convolutions = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))
        self.net = convolutions.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.bfloat16()).float().flatten(1).softmax(1)


def rotate(m: Apply, q: Tensor) -> Tensor:
    pairs = torch.view_as_complex(q.reshape(*q.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * m.turn[: q.shape[1], None]).flatten(3)


def take_log_mel(m: Apply, wave: Tensor) -> Tensor:
    power = torch.stft(wave, 64, 16, window=m.window, return_complex=True).abs() ** 2
    return (m.bank @ power).clamp(min=1e-10).log10()


def make_wave(m: Apply, magnitude: Tensor, phase: Tensor) -> Tensor:
    spectrum = magnitude.exp().clamp(max=100) * torch.exp(1j * phase)
    return torch.istft(spectrum, 16, 4, window=torch.ones(16))


def normalise(m: Apply, x: Tensor) -> tuple[Tensor, ...]:
    rows = F.layer_norm(x.flatten(1), [x[0].numel()])[:, :4]
    groups = F.group_norm(x, 1)[..., :2, :2]
    return x.mean(), x.var(), x.norm(), x.flatten().cumsum(0)[-1:], groups, rows


@torch.library.custom_op("idioms::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    return x * x * x


cube.register_fake(torch.empty_like)

ANGLE = torch.outer(torch.arange(12.0), 1e4 ** (-torch.arange(0, 8, 2) / 8))
HALVES = torch.tensor([0.35, 0.5, 0.0625]).half()
MASK = torch.tensor([True, False, True, True, False, True])
TABLE = torch.arange(12).reshape(2, 6)
EMPTY = Dim("n", min=0, max=8)

IDIOMS: dict[str, Idiom] = {
    "state_swap": Idiom(apply(swap, torch.zeros(3), a=torch.ones(3), b=torch.arange(3.0))),
    "state_shift": Idiom(apply(shift, torch.ones(3), old=torch.ones(3), older=torch.zeros(3))),
    "state_of_methods": Idiom(make_counter),
    "returned_parameter": Idiom(
        lambda: {"forward": Exportable(Returned().eval(), (seed(3, 4), torch.tensor([1, 4])))}
    ),
    "laid_out_constants": Idiom(lambda: {"forward": Exportable(Laid().eval(), (seed(3, 4),))}),
    "empty_constant": Idiom(
        apply(lambda m, x: torch.cat([m.none, x * 2]), seed(2, 4), none=torch.empty(0, 4))
    ),
    "functorch": Idiom(lambda: {"forward": Exportable(Mapped().eval(), (seed(5, 3),))}),
    "bags": Idiom(
        lambda: {
            "forward": Exportable(
                Bags().eval(),
                (torch.tensor([1, 2, 4, 5, 4, 3, 2, 9]), torch.tensor([0, 4, 8]), torch.rand(8)),
            )
        }
    ),
    "mixed_pieces": Idiom(
        apply(
            lambda m, x, i: (
                *(torch.cat([x.half(), x], 1), torch.cat([i, x], 1)),
                torch.hstack([i.to(torch.int8), i]),
            ),
            seed(2, 6),
            TABLE,
        )
    ),
    "position_index": Idiom(
        apply(lambda m, x, i: (x[i] * 2, x[:, i]), seed(5, 5), torch.tensor(2))
    ),
    "where_column": Idiom(
        apply(
            lambda m, s: (torch.where(s > 0.5)[0], torch.nonzero(s > 0.2)[:, 0] * 2),
            torch.rand(12, generator=torch.Generator().manual_seed(0)),
        ),
        partitions=2,
        whole=False,
    ),
    "half_inside": Idiom(lambda: {"forward": Exportable(HalfInside().eval(), (seed(2, 3, 8, 8),))}),
    "half_scale": Idiom(apply(lambda m, x: (x * 1e5, x / 1e5), HALVES)),
    "imaginary_parts": Idiom(apply(lambda m, x: torch.fft.fft(x), seed(2, 8))),
    "complex_rotary": Idiom(
        apply(rotate, seed(1, 7, 2, 8), turn=torch.polar(torch.ones_like(ANGLE), ANGLE))
    ),
    "spectrogram": Idiom(
        apply(take_log_mel, seed(2, 400), window=torch.hann_window(64), bank=seed(20, 33).abs())
    ),
    "vocoder_head": Idiom(apply(make_wave, seed(1, 9, 20), seed(1, 9, 20) + 1)),
    "lazy_views": Idiom(apply(lambda m, x: x.expand(200000, 200000)[:3, :2] * 2, torch.ones(1, 1))),
    "many_parts": Idiom(
        apply(lambda m, x: torch.stack(torch.split(x, 1)).sum(0) * 2, seed(300, 2))
    ),
    "never_empty": Idiom(
        apply(lambda m, x: F.one_hot(x.argmax(1), 7), seed(3, 7), dynamic=({0: EMPTY},))
    ),
    "whole_products": Idiom(
        apply(
            lambda m, i, j: (
                *(i @ j.transpose(-2, -1) * 3, torch.bmm(j, j.transpose(1, 2))),
                torch._int_mm(j[0].to(torch.int8), j[0].to(torch.int8).T),
            ),
            TABLE.reshape(1, 2, 6) * 2**61,
            TABLE.repeat(16, 1).reshape(1, 32, 6) - 99,
            dynamic=(None, {1: Dim("rows", min=17, max=64)}),
        )
    ),
    "inverse_order": Idiom(
        apply(
            lambda m, p: torch.empty_like(p).index_put_((p.argsort(),), torch.arange(p.size(0))),
            torch.tensor([3, 0, 4, 1, 2]),
            dynamic=({0: Dim("n", min=2, max=9)},),
        )
    ),
    "sorted_places": Idiom(
        apply(
            lambda m, s, v: torch.searchsorted(s, v, sorter=s.argsort(-1), right=True),
            seed(3, 7),
            seed(3, 4),
        )
    ),
    "resized_pictures": Idiom(
        apply(
            lambda m, x: (
                F.interpolate(x, (20, 30), mode="bilinear"),
                F.interpolate(x, (20, 30), mode="bicubic", antialias=True),
                F.interpolate(x, scale_factor=0.709, mode="bilinear", antialias=False),
            ),
            torch.randint(
                0,
                256,
                (1, 3, 48, 64),
                dtype=torch.uint8,
                generator=torch.Generator().manual_seed(0),
            ).contiguous(memory_format=torch.channels_last),
        )
    ),
    "long_sums": Idiom(apply(normalise, seed(1, 4, 300, 300).abs() + 4.5)),
    "picked_rows": Idiom(
        apply(lambda m, x, keep: x[keep].softmax(-1), seed(6, 5), MASK), whole=False, partitions=1
    ),
    "guarded_rows": Idiom(
        apply(lambda m, x, keep: x[:, keep[:5]].sum(1), seed(6, 5), MASK),
        None,
        "reads from a tensor",
    ),
    "no_kernel": Idiom(
        apply(lambda m, x: torch.ops.idioms.cube(x.sin()).cos(), torch.ones(3)),
        None,
        "idioms.cube.default has no out variant",
    ),
    "linalg_errors": Idiom(apply(lambda m, x: torch.linalg.inv(x) @ x, torch.eye(3)[None] * 2)),
    "linalg_information": Idiom(
        apply(lambda m, x: torch.linalg.inv_ex(x).inverse, torch.eye(3)[None] * 2),
        None,
        "aten.linalg_inv_ex.default",
    ),
    "linalg_eigenvalues": Idiom(
        apply(lambda m, x: torch.linalg.eigvals(x).real, torch.eye(3)[None] * 2),
        None,
        "aten.linalg_eig.default has no out variant",
    ),
    "linalg_factors": Idiom(
        apply(lambda m, x: torch.linalg.lu_factor(x)[0], torch.eye(3)[None] * 2),
        None,
        "the check at run time of a factorisation; the delegate runs torch.linalg.inv",
    ),
    "counted_sizes": Idiom(
        apply(lambda m, x: torch.bincount(x.abs().flatten().long(), minlength=6), seed(2, 4)),
        None,
        "aten.bincount.default",
    ),
}
