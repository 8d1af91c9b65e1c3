// The validating reader of a delegate's payload (docs/payload.md).
#pragma once

#include <cstddef>
#include <cstdint>

#include "program.h"

namespace mlx_coverage {

// Reads and checks everything, or throws a Failure that says what is wrong.
Program read_program(const uint8_t* data, size_t size);

} // namespace mlx_coverage
