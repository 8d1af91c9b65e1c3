// MLX trusts index arrays: an index out of range reads or writes foreign memory on the CPU.
#pragma once

#include "arguments.h"

namespace mlx_coverage {

// The same indices, kept inside an axis of `size` elements when the device would not.
mx::array bound_indices(const Call& call, const mx::array& indices, int size);

} // namespace mlx_coverage
