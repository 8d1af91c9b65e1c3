// Elementwise calls that a GPU runs as one kernel, in programs that mx::compile cannot take whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "program.h"

namespace mlx_coverage {

// Steps [first, last) of a program, of which all but the last one's result are read among them
// only.
struct Group {
  size_t first;
  size_t last;
  std::vector<uint32_t> inputs; // array slots that come from outside, each once
  uint32_t result;
};

// Moves each elementwise step whose result is read by one group of elementwise steps alone to that
// group, and fills `released` anew. The groups of two steps or more, in order.
std::vector<Group> group_elementwise(Program& program);

} // namespace mlx_coverage
