// MLX trusts index arrays: an index out of range reads or writes foreign memory on the CPU.
#pragma once

#include "arguments.h"

namespace mlx_coverage {

// What the rows of the functions that bound their indices demand.
inline constexpr auto INDICES = "indices inside the axis that they count along";

// The same indices, kept inside an axis of `size` elements when the device would not; the
// execution then fails if one was outside.
mx::array bound_indices(const Call& call, const mx::array& indices, int size);

// Starts of a slice of `sizes` on some axes of `array`, kept so that the slice ends inside it; the
// execution then fails if one was outside.
mx::array bound_starts(
    const Call& call,
    const mx::array& starts,
    const mx::array& array,
    const std::vector<int>& axes,
    const mx::Shape& sizes);

} // namespace mlx_coverage
