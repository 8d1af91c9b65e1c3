// MLX trusts sizes and index arrays: memory that is not there, or an index out of range on the CPU,
// would end the process.
#pragma once

#include <string_view>

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

// Throws unless `array` can be held in memory: max_array_bytes at most.
void expect_memory(std::string_view holder, const mx::array& array);

// Throws unless each array that a step made on the way to its results can be held in memory. A view
// of another array takes none, as long as what reads it takes its strides as they are.
void check_memory(const Step& step, const Frame& frame, const mx::array* results, size_t count);

} // namespace mlx_coverage
