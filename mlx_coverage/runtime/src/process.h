// What all delegates of the process share: options, the MLX stream and its lock, counters.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include <mlx/mlx.h>
#include <mlx/version.h>

// 0.32.4 is the first version in which an array knows whether it owns its memory, which both
// zero-copy inputs and state that outlives a call rely on.
#if MLX_VERSION_NUMERIC < 32004
#error "MLX 0.32.4 or newer is required"
#endif

namespace mlx_coverage {

namespace mx = mlx::core;

enum class Choice { automatic, off, on };

struct Counters {
  std::atomic<int64_t> calls{0};
  std::atomic<int64_t> zero_copied_inputs{0};
  std::atomic<int64_t> copied_inputs{0};
  std::atomic<int64_t> compiled_programs{0};
};

class Process {
 public:
  // Never destroyed: MLX's worker threads outlive static destruction.
  static Process& get();

  // Held during all MLX work: the one stream may be used from any thread, but not by two at once.
  std::mutex work;

  Counters counters;

  // The stream of all delegates. Fixes the device. MLX's default streams are not used because
  // each belongs to a thread: a delegate may be loaded on one thread and run on another.
  mx::Stream stream();
  mx::Device device();

  // For what MLX has on a CPU only; the stream of all delegates where they run there.
  mx::Stream cpu_stream();

  // Whether the process was forked from the one that runs MLX: its threads were left behind there,
  // so that waiting for them would last for ever.
  bool is_forked() const;

  // Fails in such a process. To be called before any lock is taken, which may be held for ever.
  void refuse_fork() const;

  bool compiles();
  // Whether traced calls evaluate step by step, so that each step has a time of its own.
  bool profiles() const {
    return profile_;
  }
  bool zero_copies() const {
    return zero_copy_;
  }
  uint64_t max_array_bytes() const {
    return max_array_bytes_;
  }

  // Waits for the stream and clears an error that a failed evaluation left in it.
  void drain() noexcept;

  void set_option(const std::string& name, const std::string& value);

 private:
  Process();

  std::mutex mutex_;
  mx::Device device_{mx::Device::cpu};
  std::atomic<mx::Stream*> stream_{nullptr};
  std::optional<mx::Stream> cpu_stream_; // beside a GPU's, once it is needed
  std::atomic<int64_t> owner_{0}; // the process that made the stream
  std::atomic<Choice> compile_{Choice::automatic};
  std::atomic<bool> zero_copy_{true};
  std::atomic<bool> profile_{false};
  std::atomic<uint64_t> max_array_bytes_;
  std::optional<uint64_t> cache_bytes_; // none: the device's default
};

// The sentence that mlx_coverage_last_error() returns on this thread.
std::string& last_error();

} // namespace mlx_coverage
