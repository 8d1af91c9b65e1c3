#include "program.h"

#include <string_view>

#include "functions.h"

namespace mlx_coverage {

namespace {

void release(const Argument& argument, std::vector<bool>& kept, std::vector<uint32_t>& released) {
  for (const auto& item : argument.items) {
    release(item, kept, released);
  }
  const auto slot = static_cast<uint32_t>(argument.integer);
  if (argument.tag == Tag::array && !kept[slot]) {
    kept[slot] = true;
    released.push_back(slot);
  }
}

} // namespace

size_t item_size(uint8_t dtype) {
  switch (dtype) {
    case 0: // uint8
    case 1: // int8
    case 11: // bool
      return 1;
    case 2: // int16
    case 5: // float16
    case 15: // bfloat16
    case 27: // uint16
      return 2;
    case 3: // int32
    case 6: // float32
    case 28: // uint32
      return 4;
    case 4: // int64
    case 7: // float64
    case 9: // complex64
    case 29: // uint64
      return 8;
    default:
      return 0;
  }
}

size_t TensorType::bytes() const {
  size_t bytes = item_size(dtype);
  for (const int64_t dim : dims) {
    bytes *= static_cast<size_t>(dim);
  }
  return bytes;
}

bool Program::is_pure() const {
  for (const auto& input : inputs) {
    if (input.kind != Kind::tensor) {
      return false;
    }
  }
  for (const auto& output : outputs) {
    if (output.kind != Kind::tensor) {
      return false;
    }
  }
  for (const auto& step : steps) {
    if (std::string_view(step.function->name) == "host.item") {
      return false;
    }
  }
  return true;
}

void Program::release_slots() {
  std::vector<bool> kept(array_slots);
  for (const auto& output : outputs) {
    if (output.kind == Kind::tensor) {
      kept[output.slot] = true;
    }
  }
  for (const auto& update : updates) {
    kept[update.slot] = true;
  }
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (!step->function->is_host()) {
      // A result that nobody reads.
      for (const uint32_t slot : step->results) {
        if (!kept[slot]) {
          step->released.push_back(slot);
        }
      }
    }
    for (const auto& argument : step->arguments) {
      release(argument, kept, step->released);
    }
  }
}

} // namespace mlx_coverage
