#include "process.h"

#include <cerrno>
#include <cstdlib>

#include <unistd.h>

#include <executorch/runtime/platform/log.h>

#include "failure.h"

namespace mlx_coverage {

namespace {

uint64_t measure_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_size = sysconf(_SC_PAGE_SIZE);
  if (pages <= 0 || page_size <= 0) {
    return uint64_t{1} << 40;
  }
  return static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_size);
}

mx::Device choose_device(const std::string& name) {
  const bool has_gpu = mx::is_available(mx::Device(mx::Device::gpu));
  if (name == "auto") {
    return has_gpu ? mx::Device::gpu : mx::Device::cpu;
  }
  if (name == "gpu" && !has_gpu) {
    fail(Error::NotSupported, "[device] expected a device of this MLX (cpu), came gpu.");
  }
  if (name != "cpu" && name != "gpu") {
    fail(Error::InvalidArgument, "[device] expected auto, cpu or gpu, came '", name, "'.");
  }
  return name == "gpu" ? mx::Device::gpu : mx::Device::cpu;
}

bool parse_switch(const std::string& option, const std::string& value) {
  if (value != "0" && value != "1") {
    fail(Error::InvalidArgument, "[", option, "] expected 0 or 1, came '", value, "'.");
  }
  return value == "1";
}

// Of freed memory that MLX keeps for later arrays on a GPU. Its own limit there is all memory,
// which prompts of many lengths, whose arrays fit no other, would fill. (On a CPU it is 32 MiB.)
constexpr uint64_t kCacheBytes = uint64_t{256} << 20;

uint64_t parse_size(const std::string& option, const std::string& value, uint64_t least) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long size = std::strtoull(value.c_str(), &end, 10);
  if (value.empty() || value[0] == '-' || *end != '\0' || errno != 0 || size < least) {
    fail(Error::InvalidArgument, "[", option, "] expected a number of bytes, came '", value, "'.");
  }
  return size;
}

} // namespace

Process& Process::get() {
  static Process* process = new Process;
  return *process;
}

Process::Process() : max_array_bytes_(measure_memory()) {
  device_ = choose_device("auto");
  // A wrong value in the environment must not stop a host from starting: report and go on.
  for (const auto& [variable, option] :
       {std::pair{"MLX_COVERAGE_DEVICE", "device"}, std::pair{"MLX_COVERAGE_COMPILE", "compile"},
        std::pair{"MLX_COVERAGE_CACHE_BYTES", "cache_bytes"}}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') {
      continue;
    }
    try {
      set_option(option, value);
    } catch (const std::exception& error) {
      ET_LOG(Error, "%s: %s", variable, error.what());
    }
  }
}

mx::Stream Process::stream() {
  mx::Stream* stream = stream_.load(std::memory_order_acquire);
  if (stream == nullptr) {
    std::lock_guard lock(mutex_);
    stream = stream_.load(std::memory_order_relaxed);
    if (stream == nullptr) {
      stream = new mx::Stream(mx::new_thread_unsafe_stream(device_));
      if (cache_bytes_ || device_ == mx::Device::gpu) {
        mx::set_cache_limit(cache_bytes_.value_or(kCacheBytes));
      }
      owner_ = getpid();
      stream_.store(stream, std::memory_order_release);
    }
  }
  return *stream;
}

mx::Stream Process::cpu_stream() {
  const mx::Stream main = stream();
  if (main.device == mx::Device::cpu) {
    return main;
  }
  std::lock_guard lock(mutex_);
  if (!cpu_stream_) {
    cpu_stream_ = mx::new_thread_unsafe_stream(mx::Device::cpu);
  }
  return *cpu_stream_;
}

bool Process::is_forked() const {
  return owner_ != 0 && owner_ != getpid();
}

void Process::refuse_fork() const {
  if (is_forked()) {
    fail(
        Error::InvalidState,
        "[process] this process was forked from one that runs MLX, and MLX's "
        "threads stayed behind: start it anew (the start method 'spawn' of multiprocessing), and "
        "load the program there.");
  }
}

mx::Device Process::device() {
  std::lock_guard lock(mutex_);
  return device_;
}

bool Process::compiles() {
  const Choice choice = compile_;
  if (choice == Choice::automatic) {
    // On the CPU, mx::compile starts a C++ compiler for each new kernel: off unless asked for.
    return device() == mx::Device::gpu;
  }
  return choice == Choice::on;
}

void Process::drain() noexcept {
  for (const mx::Stream s : {stream(), cpu_stream()}) {
    try {
      mx::synchronize(s);
    } catch (...) {
      // The error belongs to the call that failed, which has reported it.
    }
  }
}

void Process::set_option(const std::string& name, const std::string& value) {
  std::lock_guard lock(mutex_);
  if (name == "device") {
    const mx::Device device = choose_device(value);
    if (stream_.load() != nullptr && device != device_) {
      fail(Error::InvalidState, "[device] expected to be set before the first program is loaded.");
    }
    device_ = device;
  } else if (name == "compile") {
    compile_ = value == "auto"           ? Choice::automatic
        : parse_switch("compile", value) ? Choice::on
                                         : Choice::off;
  } else if (name == "zero_copy") {
    zero_copy_ = parse_switch("zero_copy", value);
  } else if (name == "profile") {
    profile_ = parse_switch("profile", value);
  } else if (name == "max_array_bytes") {
    max_array_bytes_ = parse_size("max_array_bytes", value, 1);
  } else if (name == "cache_bytes") {
    cache_bytes_ = parse_size("cache_bytes", value, 0);
    if (stream_.load() != nullptr) {
      mx::set_cache_limit(*cache_bytes_);
    }
  } else {
    fail(
        Error::InvalidArgument,
        "[set_option] expected device, compile, zero_copy, profile, max_array_bytes or "
        "cache_bytes, "
        "came '",
        name, "'.");
  }
}

std::string& last_error() {
  static thread_local std::string sentence;
  return sentence;
}

} // namespace mlx_coverage
