// One exception type for everything that is refused, carrying the ExecuTorch error to return.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include <executorch/runtime/core/error.h>

namespace mlx_coverage {

using executorch::runtime::Error;

class Failure : public std::runtime_error {
 public:
  Failure(Error code, const std::string& sentence) : std::runtime_error(sentence), code(code) {}
  const Error code;
};

template <typename... Parts>
[[noreturn]] void fail(Error code, const Parts&... parts) {
  std::ostringstream sentence;
  (sentence << ... << parts);
  throw Failure(code, sentence.str());
}

} // namespace mlx_coverage
