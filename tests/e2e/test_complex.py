"""Models that compute with complex numbers: one delegate, and eager torch's numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlx_coverage.lowering.complex_numbers import PORTABLE
from mlx_coverage.lowering.plan import Fallback
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import lower, run_eagerly


@dataclass
class Idiom:
    """What `forward` does with buffers (or parameters) and inputs."""

    forward: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    buffers: dict[str, Tensor]


class Model(nn.Module):
    """An idiom as a module: its function is given the module and the inputs."""

    def __init__(self, idiom: Idiom) -> None:
        super().__init__()
        self.idiom = idiom
        for name, tensor in idiom.buffers.items():
            self.register_buffer(name, tensor.clone())

    def forward(self, *inputs: Tensor) -> Any:
        return self.idiom.forward(self, *inputs)


IDIOMS: dict[str, Idiom] = {}


def idiom(*inputs: Tensor, **buffers: Tensor) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function of the module and of inputs as an idiom."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        IDIOMS[function.__name__] = Idiom(function, inputs, buffers)
        return function

    return declare


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=dtype, generator=generator)


def complex_normal(*shape: int) -> Tensor:
    return normal(*shape, dtype=torch.complex64)


WAVE = normal(2, 200)
WINDOW = torch.hann_window(32)
TURN = torch.polar(torch.ones(12, 4), torch.outer(torch.arange(12.0), torch.rand(4)))


# Rotary embeddings


@idiom(normal(1, 7, 2, 8), normal(1, 7, 1, 8), turn=TURN)
def rotary_of_meta(m: Any, q: Tensor, k: Tensor) -> Any:
    turn = m.turn[: q.shape[1]].view(1, q.shape[1], 1, 4)

    def rotate(x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turn).flatten(3).type_as(x)

    return rotate(q), rotate(k)


@idiom(normal(1, 7, 2, 8, dtype=torch.bfloat16), torch.arange(7)[None], base=torch.rand(4))
def rotary_of_llama4(m: Any, q: Tensor, positions: Tensor) -> Any:
    angles = (m.base[None, :, None] @ positions[:, None, :].float()).transpose(1, 2)
    turn = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(q.float().reshape(*q.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn[:, :, None, :]).flatten(3).type_as(q)


@idiom(normal(1, 2, 7, 8), turn=TURN)
def rotary_by_real_parts(m: Any, x: Tensor) -> Any:
    z = torch.complex(x[..., :4], x[..., 4:]) * m.turn[:7]
    return torch.cat([z.real, z.imag], -1)


# Spectra


@idiom(WAVE, window=WINDOW, bank=torch.rand(10, 17))
def log_mel(m: Any, wave: Tensor) -> Any:
    power = torch.stft(wave, 32, 8, window=m.window, return_complex=True).abs() ** 2
    return (m.bank @ power).clamp(min=1e-10).log10()


@idiom(WAVE, window=WINDOW)
def two_sided_spectrogram(m: Any, wave: Tensor) -> Any:
    spectrum = torch.stft(
        wave, 32, 8, window=m.window, center=False, normalized=True, onesided=False,
        return_complex=True,
    )  # fmt: skip
    return torch.view_as_real(spectrum), spectrum.abs().pow(0.5)


@idiom(WAVE, window=WINDOW)
def magnitude_and_phase(m: Any, wave: Tensor) -> Any:
    spectrum = torch.stft(wave, 32, 8, 24, m.window[:24], return_complex=True, pad_mode="constant")
    return spectrum.abs(), torch.angle(spectrum), spectrum.real, spectrum.imag


@idiom(normal(2, 5, 4), normal(2, 5, 4))
def fourier_mixing(m: Any, x: Tensor, y: Tensor) -> Any:
    return torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real, torch.fft.fft2(x + y).real


@idiom(normal(2, 20))
def autocorrelation(m: Any, x: Tensor) -> Any:
    spectrum = torch.fft.rfft(x, 40)
    return torch.fft.irfft(spectrum * spectrum.conj(), 40)[..., :20]


@idiom(normal(2, 20))
def cepstrum(m: Any, x: Tensor) -> Any:
    return torch.fft.irfft((torch.fft.rfft(x).abs() + 1e-3).log(), 20)


@idiom(normal(3, 6, 5), complex_normal(3, 6, 5))
def transforms_in_every_mode(m: Any, x: Tensor, z: Tensor) -> Any:
    return (
        torch.fft.fft(x, 8, 1, "ortho"),
        torch.fft.ifft(z, 4, -1, "forward"),
        torch.fft.fftn(z, (4, 6), (0, 2)),
        torch.fft.ifft2(z, norm="ortho"),
        torch.fft.irfft(z, 9),
        torch.fft.irfftn(z, dim=(0, 1)),
        torch.fft.hfft(z, 7),
        torch.fft.ihfft(x, 6),
        torch.fft.rfft2(x, (4, 8)),
        torch.fft.fftshift(torch.fft.fft2(x), (-2, -1)),
    )


@idiom(normal(2, 16))
def hilbert_transform(m: Any, x: Tensor) -> Any:
    step = torch.zeros(16)
    step[0] = step[8] = 1
    step[1:8] = 2
    analytic = torch.fft.ifft(torch.fft.fft(x) * step)
    return analytic.abs(), torch.atan2(analytic.imag, analytic.real)


# From spectra to waves


@idiom(normal(1, 17, 12), normal(1, 17, 12), window=WINDOW)
def vocoder_head_of_exponentials(m: Any, magnitude: Tensor, phase: Tensor) -> Any:
    spectrum = magnitude.exp().clamp(max=100) * torch.exp(1j * phase)
    return torch.istft(spectrum, 32, 8, window=m.window)


@idiom(normal(1, 17, 12), normal(1, 17, 12), window=WINDOW)
def vocoder_head_of_polar_numbers(m: Any, magnitude: Tensor, phase: Tensor) -> Any:
    spectrum = torch.polar(magnitude.exp(), phase.sin() * torch.pi)
    return torch.istft(spectrum, 32, 8, window=m.window, center=True, length=80)


@idiom(normal(1, 17, 12), normal(1, 17, 12), window=WINDOW)
def vocoder_head_of_cosines(m: Any, magnitude: Tensor, phase: Tensor) -> Any:
    spectrum = magnitude.exp() * (torch.cos(phase) + 1j * torch.sin(phase))
    frames = torch.fft.irfft(spectrum, 32, dim=1) * m.window[None, :, None]
    return F.fold(frames, (1, 120), (1, 32), stride=(1, 8))


@idiom(complex_normal(1, 9, 10), window=torch.hann_window(16))
def griffin_lim(m: Any, spectrum: Tensor) -> Any:
    magnitude, angles = spectrum.abs(), torch.ones_like(spectrum)
    before = torch.zeros_like(angles)
    for _ in range(2):
        wave = torch.istft(magnitude * angles, 16, 4, window=m.window)
        rebuilt = torch.stft(wave, 16, 4, window=m.window, return_complex=True)
        angles = rebuilt - before * (0.99 / 1.99)
        angles = angles / (angles.abs() + 1e-16)
        before = rebuilt
    return torch.istft(magnitude * angles, 16, 4, window=m.window)


@idiom(complex_normal(1, 9, 10), advance=torch.linspace(0, torch.pi * 4, 9)[:, None])
def phase_vocoder(m: Any, spectrum: Tensor) -> Any:
    steps = torch.arange(0, 10, 1.3)
    alphas, places = steps % 1.0, steps.long()
    padded = F.pad(spectrum, [0, 2])
    first, second = padded.index_select(-1, places), padded.index_select(-1, places + 1)
    phase = second.angle() - first.angle() - m.advance
    phase = phase - 2 * torch.pi * torch.round(phase / (2 * torch.pi)) + m.advance
    phase = torch.cat([spectrum[..., :1].angle(), phase[..., :-1]], -1).cumsum(-1)
    magnitude = alphas * second.abs() + (1 - alphas) * first.abs()
    return torch.polar(magnitude, phase)


# Convolutions in the frequency domain, spectral layers, state spaces


@idiom(normal(2, 3, 20), kernel=normal(3, 20))
def long_convolution(m: Any, x: Tensor) -> Any:
    spectrum = torch.fft.rfft(m.kernel, 40) / 40
    return torch.fft.irfft(torch.fft.rfft(x, 40) * spectrum, 40, norm="forward")[..., :20]


@idiom(normal(2, 3, 10), log_dt=torch.rand(3), c=normal(3, 4, 2), a=normal(3, 4))
def diagonal_state_space(m: Any, u: Tensor) -> Any:
    a = -torch.exp(m.a) + 1j * m.a
    dt_a = a * torch.exp(m.log_dt)[:, None]
    c = torch.view_as_complex(m.c) * (torch.exp(dt_a) - 1.0) / a
    powers = torch.exp(dt_a[..., None] * torch.arange(10))
    kernel = 2 * torch.einsum("hn, hnl -> hl", c, powers).real
    return torch.fft.irfft(torch.fft.rfft(u, 20) * torch.fft.rfft(kernel, 20), 20)[..., :10]


@idiom(normal(2, 5, 3), pole=torch.polar(torch.rand(4), torch.rand(4)), b=complex_normal(4, 3))
def linear_recurrent_unit(m: Any, u: Tensor) -> Any:
    driven = u.to(torch.complex64) @ m.b.T
    state = torch.zeros_like(driven[:, 0])
    states = []
    for t in range(5):
        state = m.pole * state + driven[:, t]
        states.append(state)
    return torch.stack(states, 1).real, m.pole ** torch.arange(5)[:, None]


@idiom(normal(2, 3, 16), weight=complex_normal(3, 4, 5))
def fourier_neural_operator(m: Any, x: Tensor) -> Any:
    spectrum = torch.fft.rfft(x)
    out = torch.zeros(2, 4, 9, dtype=torch.complex64)
    out[:, :, :5] = torch.einsum("bix,iox->box", spectrum[:, :, :5], m.weight)
    return torch.fft.irfft(out, n=16)


@idiom(normal(1, 2, 8, 8), low=complex_normal(2, 3, 3, 3), high=complex_normal(2, 3, 3, 3))
def fourier_neural_operator_of_images(m: Any, x: Tensor) -> Any:
    spectrum = torch.fft.rfft2(x)
    out = torch.zeros(1, 3, 8, 5, dtype=torch.cfloat)
    out[:, :, :3, :3] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :3, :3], m.low)
    out[:, :, -3:, :3] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -3:, :3], m.high)
    return torch.fft.irfft2(out, s=(8, 8))


@idiom(normal(1, 6, 6, 2), weight=normal(6, 4, 2, 2))
def global_filter(m: Any, x: Tensor) -> Any:
    spectrum = torch.fft.rfft2(x, dim=(1, 2), norm="ortho")
    return torch.fft.irfft2(
        spectrum * torch.view_as_complex(m.weight), s=(6, 6), dim=(1, 2), norm="ortho"
    )


@idiom(complex_normal(1, 6, 6), mask=torch.rand(6, 6) > 0.5, kept=complex_normal(1, 6, 6))
def data_consistency(m: Any, image: Tensor) -> Any:
    k = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(image, (-2, -1)), norm="ortho"))
    k = torch.where(m.mask, m.kept, k).masked_fill(~m.mask & (k.abs() < 0.1), 0)
    return torch.fft.ifft2(k, norm="ortho"), torch.view_as_real(k)


@idiom(normal(6, 6), k=torch.rand(6, 6))
def wave_propagation(m: Any, field: Tensor) -> Any:
    transfer = torch.exp(1j * 2 * torch.pi * m.k)
    return torch.fft.ifft2(torch.fft.fft2(torch.exp(1j * field)) * transfer).abs().square()


# Layers of complex numbers


@idiom(complex_normal(3, 4), weight=complex_normal(5, 4), bias=complex_normal(5))
def complex_linear(m: Any, z: Tensor) -> Any:
    return F.linear(z, m.weight, m.bias), z @ m.weight.mH, torch.addmm(m.bias, z, m.weight.T)


@idiom(complex_normal(1, 3, 9), weight=complex_normal(4, 3, 3), bias=complex_normal(4))
def complex_convolution(m: Any, z: Tensor) -> Any:
    return F.conv1d(z, m.weight, m.bias, padding=1)


@idiom(complex_normal(6, 4), scale=normal(4), shift=normal(4))
def complex_batch_norm(m: Any, z: Tensor) -> Any:
    mean = z.mean(0)
    centred = z - mean
    variance = (centred.real**2 + centred.imag**2).mean(0)
    normed = centred / torch.sqrt(variance + 1e-5)
    return torch.complex(normed.real * m.scale + m.shift, normed.imag), z.var(0), z.std()


@idiom(complex_normal(3, 4), bias=normal(4))
def activations(m: Any, z: Tensor) -> Any:
    size = z.abs()
    return (
        torch.relu(size + m.bias) * z / (size + 1e-6),
        torch.complex(F.relu(z.real), F.relu(z.imag)),
        torch.tanh(z) * torch.sigmoid(z),
        torch.sgn(z),
        F.silu(z),
    )


@idiom(complex_normal(2, 5, 4), complex_normal(2, 5, 4))
def complex_attention(m: Any, q: Tensor, k: Tensor) -> Any:
    scores = q @ k.conj().transpose(-2, -1) / 2
    return torch.softmax(scores.abs(), -1).to(torch.complex64) @ k, scores.imag


@idiom(complex_normal(3, 6), complex_normal(3, 6))
def functions(m: Any, a: Tensor, b: Tensor) -> Any:
    return (
        a.log() + b.sqrt() * a.sin() - b.cos(), a.pow(2), a**b, 2**a, a.reciprocal(), a.rsqrt(),
        1j - a, 1 / b, a.square(), a.exp() / b, -a, torch.addcmul(a, a, b), a.sinh() * b.cosh(),
    )  # fmt: skip


@idiom(complex_normal(3, 6), complex_normal(3, 6))
def reductions(m: Any, a: Tensor, b: Tensor) -> Any:
    return (
        a.sum(), a.mean(1), a.prod(0), a.cumsum(-1), torch.linalg.norm(a), a.norm(dim=-1),
        torch.vdot(a[0], b[0]), torch.linalg.vecdot(a, b), F.normalize(a, dim=-1),
    )  # fmt: skip


@idiom(complex_normal(3, 6), complex_normal(3, 6), index=torch.tensor([2, 0, 2]))
def selections(m: Any, a: Tensor, b: Tensor) -> Any:
    joined = torch.cat([a, b], 1).reshape(3, 2, 6).permute(2, 0, 1)
    return (
        joined, torch.stack([a, b]).flip(0), a.roll(2, 1), a[m.index], a[:, ::2], a.tril(1),
        a.gather(0, m.index[None].expand(2, 3)), a.repeat(2, 1), F.pad(a, (1, 2), value=0.5),
        a.diagonal(), a.split(2, 1)[1], a.T, a.unfold(1, 3, 2), a[:, None] == b, a != b,
        a.index_put((m.index[:2],), b[:2]), a.index_add(0, m.index, b), a.isnan(), a.isfinite(),
        a[..., 1].expand(4, 3), torch.nan_to_num(a.real), a.masked_fill(a.real > 0, 1 - 2j),
    )  # fmt: skip


@idiom(normal(3, 4), normal(3, 4, dtype=torch.bfloat16))
def creations(m: Any, x: Tensor, h: Tensor) -> Any:
    return (
        torch.full((3, 4), 1 + 2j) * x, torch.ones(3, 4, dtype=torch.cfloat) + x, x * 1j,
        h * 2j, (x + 1j).to(torch.cfloat).to(torch.cfloat), torch.eye(4, dtype=torch.cfloat) * 2,
        torch.zeros_like(x, dtype=torch.cfloat) - x, x.to(torch.cfloat),
        torch.scalar_tensor(2, dtype=torch.cfloat) + x,
        (1 + 1j) / x, x - 2j, x.cfloat().conj().imag, torch.tensor([1j, 2.0]).sum() + x,
    )  # fmt: skip


@idiom(complex_normal(2, 3, 5, 6), steer=complex_normal(5, 3))
def beamformer(m: Any, spectrum: Tensor) -> Any:
    psd = torch.einsum("...cft,...eft->...fce", spectrum, spectrum.conj())
    trace = psd.diagonal(dim1=-1, dim2=-2).sum(-1)
    weights = psd / (trace[..., None, None] + 1e-8)
    weights = torch.einsum("...fec,fc->...fe", weights, m.steer)
    return torch.einsum("...fc,...cft->...ft", weights.conj(), spectrum)


@pytest.mark.parametrize("name", IDIOMS)
def test_idiom_is_one_delegate(name: str) -> None:
    model = Model(IDIOMS[name]).eval()
    inputs = IDIOMS[name].inputs
    lowered = lower(model, *inputs)
    assert (len(lowered.delegates()), lowered.fallbacks()) == (1, [])
    expected = run_eagerly(model, *inputs)
    assert_close(*(map(_split, (lowered.start()(*inputs), expected))))


def _split(results: list[Tensor]) -> list[Tensor]:
    """Complex results as pairs, so that each part is compared on its own."""
    return [torch.view_as_real(r.resolve_conj()) if r.is_complex() else r for r in results]


class Resonator(nn.Module):
    """A buffer of complex numbers that every call turns and drives."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.full((3,), 1 + 1j))
        self.register_buffer("pole", torch.polar(torch.rand(3), torch.rand(3)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.state.copy_(self.state * self.pole + x)
        return self.state.real * 2, self.state.clone()


@pytest.mark.parametrize("excluded", [(), ("aten.view_as_real.default",)])
def test_complex_state_is_kept_over_calls(excluded: tuple[str, ...]) -> None:
    model = Resonator()
    x = normal(3)
    lowered = lower(model, x, exclude_ops=excluded)
    # Where the op stays with ExecuTorch, complex tensors cross to it and back.
    assert (len(lowered.delegates()), lowered.fallbacks()) == (1 + len(excluded), [*excluded])
    run = lowered.start()
    for _ in range(3):
        assert_close(*map(_split, (run(x), run_eagerly(model, x))))


def test_frames_of_dynamic_length() -> None:
    model = Model(IDIOMS["long_convolution"])
    model.idiom = Idiom(_filter_any_length, (), {})
    x, longer = normal(2, 20), normal(2, 31)
    lowered = lower(model, x, dynamic_shapes=(({1: torch.export.Dim("n", min=8, max=64)},),))
    assert (len(lowered.delegates()), lowered.fallbacks()) == (1, [])
    run = lowered.start()
    for given in (x, longer):
        assert_close(*map(_split, (run(given), run_eagerly(model, given))))


def _filter_any_length(m: Any, x: Tensor) -> Any:
    spectrum = torch.fft.fft(x) * torch.exp(-1j * torch.arange(x.shape[1]))
    return torch.fft.ifft(spectrum).real, spectrum.conj()


class Portable(nn.Module):
    """What stays in ATen with complex numbers."""

    def forward(self, z: Tensor, x: Tensor) -> Any:
        moved = z.permute(1, 0)[:, 1:].unsqueeze(1).unsqueeze(0)
        return (
            moved.squeeze((0, 2)), moved.expand(3, -1, -1, -1), z[1:].clone(),
            torch.view_as_real(z), torch.fft.rfft(x),
            torch.ops.aten._fft_c2r(z, [1], 0, 6),
        )  # fmt: skip


def test_what_stays_in_aten_has_kernels() -> None:
    inputs = (complex_normal(3, 4), normal(2, 6))
    lowered = lower(Portable(), *inputs, exclude_node=lambda node: True)
    assert {str(op) for op in PORTABLE} == set(lowered.fallbacks())
    assert_close(*map(_split, (lowered.start()(*inputs), run_eagerly(Portable(), *inputs))))


class Inverse(nn.Module):
    """An op of complex numbers that the registry does not take, amid those that it does."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.acos(x * 2j).abs()


def test_refused_op_hides_nothing_of_the_plan() -> None:
    lowered = lower(Inverse(), normal(3))
    assert lowered.fallbacks() == ["aten.acos.default"]
    assert len(lowered.delegates()) == 2
    (refused,) = (
        p for p in lowered.plans["forward"].placements.values() if isinstance(p, Fallback)
    )
    (reason,) = refused.reasons
    assert (reason.slug, "`x.imag`" in reason.remedy) == ("op/dtype", True)
