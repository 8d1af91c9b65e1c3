// Reductions and scans of many numbers on a CPU, where MLX's kernels add float32 one after
// another: 7 % are lost of 25 million. Its GPU kernels add in parallel, in many parts.
// `registry/accumulation.py` does the same in Python.
#pragma once

#include <vector>

#include "arguments.h"

namespace mlx_coverage {

using Reduction =
    mx::array (*)(const mx::array&, const std::vector<int>&, bool, mx::StreamOrDevice);

// Whether to accumulate in float64: the call runs on a CPU and `axes` of `a`, of float32, hold
// more elements than a single loop may add.
bool is_long(const Call& c, const mx::array& a, const std::vector<int>& axes);

// A reduction of which parts may be reduced first, and then their results: float32 within short
// parts, which needs no copy of the array, and float64 between them.
mx::array reduce_parts(
    Reduction function,
    const mx::array& a,
    std::vector<int> axes,
    bool keepdims,
    mx::Stream stream);

// `function(a)`, computed in float64 if `wide`.
template <typename Function>
mx::array in_float64(bool wide, const mx::array& a, mx::Stream stream, Function function) {
  return wide ? mx::astype(function(mx::astype(a, mx::float64, stream)), a.dtype(), stream)
              : function(a);
}

// MLX's functions of these names, and as exact where the axes are long.
mx::array sum(const Call& c, const mx::array& a, const std::vector<int>& axes, bool keepdims);
mx::array mean(const Call& c, const mx::array& a, const std::vector<int>& axes, bool keepdims);

} // namespace mlx_coverage
