// The mutable buffers of a loaded program, which outlive its calls and belong to all its methods.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <executorch/runtime/backend/interface.h>
#include <mlx/mlx.h>

#include "program.h"

namespace mlx_coverage {

namespace mx = mlx::core;

// A mutable buffer. It holds no value only while a call replaces it, and for ever after when that
// call fails: MLX may have used up the old value by then.
struct Buffer {
  std::optional<mx::array> value;
};

// One instance of the buffers that delegates share, by name. All members are used with the lock of
// all MLX work held.
class Session {
 public:
  // That of the loaded program that a delegate belongs to: made for its first delegate that shares
  // a buffer, gone with the last one.
  static std::shared_ptr<Session> find(executorch::runtime::BackendInitContext& context);

  // The buffer of that name; `initialize` gives the value that it starts with, once.
  std::shared_ptr<Buffer> find_buffer(
      const State& state, const std::function<mx::array()>& initialize);

 private:
  // What ExecuTorch hands to each delegate of one program, and to no delegate of another.
  struct Origin {
    const char* key; // in the memory of the program's file
    const void* data; // its map of named data
    const void* allocator;
    static Origin of(executorch::runtime::BackendInitContext& context);
    bool is_same(const Origin& other) const;
  };

  struct Entry {
    TensorType type;
    std::shared_ptr<Buffer> buffer;
  };

  explicit Session(const Origin& origin) : origin_(origin) {}

  Origin origin_;
  std::map<std::string, Entry> buffers_;
};

} // namespace mlx_coverage
