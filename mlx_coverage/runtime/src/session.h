// What programs keep between calls: buffers that outlive their calls, belong to all methods of a
// loaded program, and have one value for each session.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include <executorch/runtime/backend/interface.h>
#include <mlx/mlx.h>

#include "program.h"

namespace mlx_coverage {

namespace mx = mlx::core;

// The value of a buffer in one session. There is none only while a call replaces it, and for ever
// after when that call fails: MLX may have used up the old value by then.
struct Value {
  std::optional<mx::array> array;
};

// A session, as the C interface numbers them; 0 is always open.
using SessionNumber = int64_t;

// A mutable buffer of a loaded program. All members are used with the lock of all MLX work held.
class Buffer {
 public:
  // `key` names it in a saved session; it starts at `initial`, or at zeros without one.
  Buffer(std::string key, TensorType type, std::optional<mx::array> initial);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const TensorType& type() const {
    return type_;
  }

  // The value in a session: what a loaded file holds, or the initial one, where it has none yet.
  Value& in(SessionNumber session);

 private:
  friend class Sessions;

  std::string key_;
  TensorType type_;
  std::optional<mx::array> initial_;
  std::unordered_map<SessionNumber, Value> values_;
};

// The buffers that delegates of one loaded program share, by name.
class SharedBuffers {
 public:
  // Those of the program that a delegate belongs to: made for its first delegate that shares a
  // buffer, gone with the last one.
  static std::shared_ptr<SharedBuffers> find(executorch::runtime::BackendInitContext& context);

  // The buffer of that name; `initialize` gives the value that it starts with, once.
  std::shared_ptr<Buffer> find_buffer(
      const State& state,
      const std::function<std::optional<mx::array>()>& initialize);

 private:
  // What ExecuTorch hands to each delegate of one program, and to no delegate of another.
  struct Origin {
    const char* key; // in the memory of the program's file
    const void* data; // its map of named data
    const void* allocator;
    static Origin of(executorch::runtime::BackendInitContext& context);
    bool is_same(const Origin& other) const;
  };

  explicit SharedBuffers(const Origin& origin) : origin_(origin) {}

  Origin origin_;
  std::map<std::string, std::shared_ptr<Buffer>> buffers_;
};

// The sessions that are open. Static members take the lock of all MLX work, apart from `current`.
class Sessions {
 public:
  // That of the calls of this thread; 0 until `use`.
  static SessionNumber current();

  static SessionNumber open();
  static void close(SessionNumber session);
  static void use(SessionNumber session);
  static void reset(SessionNumber session);

  // Both hold the same arrays afterwards: MLX copies one as soon as one of them writes to it.
  static void copy(SessionNumber from, SessionNumber to);

  // As a safetensors file, each buffer by its key.
  static void save(SessionNumber session, const std::string& path, const std::string& note);
  static void load(SessionNumber session, const std::string& path);

  // Fails unless the session is open. The lock is held already.
  static void check(SessionNumber session);

 private:
  friend class Buffer;
  using Arrays = std::unordered_map<std::string, mx::array>;

  static Sessions& get();
  void forget(SessionNumber session);

  SessionNumber next_ = 1;
  // What was loaded from a file and no buffer has taken over yet.
  std::map<SessionNumber, Arrays> loaded_{{0, {}}};
  std::set<Buffer*> buffers_; // all that exist
};

} // namespace mlx_coverage
