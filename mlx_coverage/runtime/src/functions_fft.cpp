// Fourier transforms.
#include "functions.h"

#include "failure.h"

namespace mlx_coverage {

namespace {

using mx::fft::FFTNorm;

FFTNorm read_norm(const Call& c, size_t i) {
  const std::string& name = c.text(i);
  if (name == "backward") {
    return FFTNorm::Backward;
  }
  if (name == "ortho") {
    return FFTNorm::Ortho;
  }
  if (name == "forward") {
    return FFTNorm::Forward;
  }
  c.refuse("expected norm backward, ortho or forward, came '" + name + "'.");
}

using Sized = mx::array (*)(
    const mx::array&,
    const mx::Shape&,
    const std::vector<int>&,
    FFTNorm,
    mx::StreamOrDevice);
using Along = mx::array (*)(const mx::array&, const std::vector<int>&, FFTNorm, mx::StreamOrDevice);
using Whole = mx::array (*)(const mx::array&, FFTNorm, mx::StreamOrDevice);

// Along one axis: (a, n, axis, norm).
template <Sized sized, Along along>
mx::array transform(const Call& c) {
  const std::vector<int> axes = {c.integer(2)};
  const FFTNorm norm = read_norm(c, 3);
  return c.is_none(1) ? along(c.array(0), axes, norm, c.stream())
                      : sized(c.array(0), c.shape(1), axes, norm, c.stream());
}

// Along several axes: (a, s, axes, norm).
template <Sized sized, Along along, Whole whole>
mx::array transform_n(const Call& c) {
  const FFTNorm norm = read_norm(c, 3);
  if (!c.is_none(2)) {
    const auto axes = c.integers(2);
    return c.is_none(1) ? along(c.array(0), axes, norm, c.stream())
                        : sized(c.array(0), c.shape(1), axes, norm, c.stream());
  }
  if (!c.is_none(1)) {
    c.refuse("expected axes beside sizes, came None.");
  }
  return whole(c.array(0), norm, c.stream());
}

using ShiftWhole = mx::array (*)(const mx::array&, mx::StreamOrDevice);
using ShiftAlong = mx::array (*)(const mx::array&, const std::vector<int>&, mx::StreamOrDevice);

template <ShiftWhole whole, ShiftAlong along>
mx::array shift(const Call& c) {
  return c.is_none(1) ? whole(c.array(0), c.stream())
                      : along(c.array(0), c.one_or_more(1), c.stream());
}

template <mx::array (*function)(int, double, mx::StreamOrDevice)>
mx::array frequencies(const Call& c) {
  return function(c.size(0), c.real(1), c.stream());
}

// Lengths of the transform, of a hop and of the window, beginning at argument i.
void expect_lengths(const Call& c, size_t i) {
  for (size_t k = i; k < i + 3; ++k) {
    if (c.maybe_integer(k).value_or(1) < 1) {
      c.refuse(k, "None or a length from 1 up");
    }
  }
}

mx::array stft(const Call& c) {
  expect_lengths(c, 1);
  const auto signal = c.array(0);
  const int half = c.integer(1) / 2;
  // MLX reflects element by element, however often the signal must be gone through.
  if (c.flag(5) && c.text(6) == "reflect" && signal.ndim() > 0 && half >= signal.shape(-1)) {
    fail(
        Error::InvalidProgram, "[fft.stft] reflects ", half, " elements of a signal of ",
        signal.shape(-1), ".");
  }
  return mx::fft::stft(
      signal, c.integer(1), c.maybe_integer(2), c.maybe_integer(3), c.maybe_array(4), c.flag(5),
      c.text(6), read_norm(c, 7), c.maybe_flag(8), c.stream());
}

mx::array istft(const Call& c) {
  expect_lengths(c, 1);
  return mx::fft::istft(
      c.array(0), c.maybe_integer(1), c.maybe_integer(2), c.maybe_integer(3), c.maybe_array(4),
      c.flag(5), read_norm(c, 6), c.maybe_flag(7), c.maybe_integer(8), c.stream());
}

} // namespace

Rows fft_functions() {
  using namespace mx::fft;
  return {
      {"fft.fft", 4, transform<fftn, fftn>},
      {"fft.ifft", 4, transform<ifftn, ifftn>},
      {"fft.rfft", 4, transform<rfftn, rfftn>},
      {"fft.irfft", 4, transform<irfftn, irfftn>},
      {"fft.fft2", 4, transform_n<fftn, fftn, fftn>},
      {"fft.ifft2", 4, transform_n<ifftn, ifftn, ifftn>},
      {"fft.rfft2", 4, transform_n<rfftn, rfftn, rfftn>},
      {"fft.irfft2", 4, transform_n<irfftn, irfftn, irfftn>},
      {"fft.fftn", 4, transform_n<fftn, fftn, fftn>},
      {"fft.ifftn", 4, transform_n<ifftn, ifftn, ifftn>},
      {"fft.rfftn", 4, transform_n<rfftn, rfftn, rfftn>},
      {"fft.irfftn", 4, transform_n<irfftn, irfftn, irfftn>},
      {"fft.fftfreq", 2, frequencies<fftfreq>},
      {"fft.rfftfreq", 2, frequencies<rfftfreq>},
      {"fft.fftshift", 2, shift<fftshift, fftshift>},
      {"fft.ifftshift", 2, shift<ifftshift, ifftshift>},
      {"fft.istft", 9, istft},
      {"fft.stft", 9, stft},
  };
}

} // namespace mlx_coverage
