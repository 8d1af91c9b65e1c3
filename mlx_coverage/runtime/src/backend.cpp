// The entry of the library: ExecuTorch's three functions and the exported C interface. Exceptions
// stop here and nowhere else.
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/platform/log.h>

#include "delegate.h"
#include "failure.h"
#include "functions.h"
#include "mlx_coverage.h"
#include "process.h"
#include "session.h"

#define MLX_COVERAGE_TEXT_(x) #x
#define MLX_COVERAGE_TEXT(x) MLX_COVERAGE_TEXT_(x)

namespace mlx_coverage {

namespace {

namespace et = executorch::runtime;

constexpr const char* kName = "MLXCoverageBackend";
constexpr const char* kMlxVersion = MLX_COVERAGE_TEXT(MLX_VERSION_MAJOR) "." MLX_COVERAGE_TEXT(
    MLX_VERSION_MINOR) "." MLX_COVERAGE_TEXT(MLX_VERSION_PATCH);

// Text of a damaged payload may be in the sentence, and a log sink that decodes UTF-8, as
// ExecuTorch's Python binding has, must not meet other bytes.
std::string make_printable(std::string sentence) {
  for (char& character : sentence) {
    if (character < ' ' || character > '~') {
      character = '?';
    }
  }
  return sentence;
}

Error report(Error code, const char* sentence) noexcept {
  try {
    last_error() = make_printable(sentence);
    ET_LOG(Error, "%s: %s", kName, last_error().c_str());
  } catch (...) {
    ET_LOG(Error, "%s: out of memory for the sentence.", kName);
  }
  return code;
}

// Runs `body`; whatever it throws becomes an Error and a sentence.
template <typename Body>
Error guard(Body body) noexcept {
  try {
    body();
    return Error::Ok;
  } catch (const Failure& failure) {
    return report(failure.code, failure.what());
  } catch (const std::bad_alloc&) {
    return report(Error::MemoryAllocationFailed, "Out of memory.");
  } catch (const std::exception& error) {
    return report(Error::Internal, error.what());
  } catch (...) {
    return report(Error::Internal, "An exception of an unknown type.");
  }
}

// Options that ExecuTorch was given for this program; they hold for the process, as MLX's do.
void set_load_options(const et::BackendInitContext& context) {
  constexpr const char* name = "cache_bytes";
  if (const auto bytes = context.get_runtime_spec<int>(name); bytes.ok()) {
    Process::get().set_option(name, std::to_string(*bytes));
  } else if (const auto text = context.get_runtime_spec<const char*>(name); text.ok()) {
    Process::get().set_option(name, *text);
  }
}

class Backend final : public et::BackendInterface {
 public:
  bool is_available() const override {
    return true;
  }

  et::Result<et::DelegateHandle*> init(
      et::BackendInitContext& context,
      et::FreeableBuffer* payload,
      et::ArrayRef<et::CompileSpec>) const override {
    std::unique_ptr<Delegate> delegate;
    const Error error = guard([&] {
      set_load_options(context);
      delegate = std::make_unique<Delegate>(context, payload->data(), payload->size());
    });
    if (error != Error::Ok) {
      return error;
    }
    payload->Free();
    return static_cast<et::DelegateHandle*>(delegate.release());
  }

  Error execute(
      et::BackendExecutionContext& context,
      et::DelegateHandle* handle,
      et::Span<et::EValue*> arguments) const override {
    const Error error =
        guard([&] { static_cast<Delegate*>(handle)->execute(arguments, context.event_tracer()); });
    if (error != Error::Ok && !Process::get().is_forked()) {
      Process::get().drain();
    }
    return error;
  }

  void destroy(et::DelegateHandle* handle) const override {
    guard([&] {
      if (Process::get().is_forked()) {
        return; // the parent's; freeing it here would wait for MLX's threads
      }
      std::lock_guard lock(Process::get().work);
      delete static_cast<Delegate*>(handle);
    });
  }
};

void register_once() {
  static std::mutex mutex;
  static Backend* backend = nullptr;
  std::lock_guard lock(mutex);
  if (backend != nullptr) {
    return;
  }
  // MLX's C++ ABI changes with every release, and version() may carry a suffix such as +cuda.
  const size_t length = std::strlen(kMlxVersion);
  const char next =
      std::strncmp(mx::version(), kMlxVersion, length) == 0 ? mx::version()[length] : '0';
  if (next >= '0' && next <= '9') {
    fail(
        Error::DelegateInvalidCompatibility, "Built for MLX ", kMlxVersion, ", but MLX ",
        mx::version(), " is loaded: build the runtime again.");
  }
  if (et::get_backend_class(kName) != nullptr) {
    fail(Error::RegistrationAlreadyRegistered, "Another copy of ", kName, " is registered.");
  }
  auto candidate = std::make_unique<Backend>();
  const Error error = et::register_backend({kName, candidate.get()});
  if (error != Error::Ok) {
    fail(error, "ExecuTorch refused to register ", kName, ".");
  }
  backend = candidate.release(); // ExecuTorch keeps it until the process ends
}

} // namespace

} // namespace mlx_coverage

using namespace mlx_coverage;

int32_t mlx_coverage_register(void) {
  return static_cast<int32_t>(guard(register_once));
}

const char* mlx_coverage_last_error(void) {
  return last_error().c_str();
}

int32_t mlx_coverage_set_option(const char* name, const char* value) {
  return static_cast<int32_t>(guard([&] {
    if (name == nullptr || value == nullptr) {
      fail(Error::InvalidArgument, "[set_option] expected a name and a value.");
    }
    Process::get().set_option(name, value);
  }));
}

const char* mlx_coverage_device(void) {
  const char* name = "cpu";
  guard([&] { name = Process::get().device() == mx::Device::gpu ? "gpu" : "cpu"; });
  return name;
}

const char* mlx_coverage_mlx_version_built(void) {
  return kMlxVersion;
}

const char* mlx_coverage_mlx_version_loaded(void) {
  return mx::version();
}

const char* mlx_coverage_functions(void) {
  static const std::string list = [] {
    std::string lines;
    for (const auto& function : function_table()) {
      lines += std::string(function.name) + " " + std::to_string(function.arity) + "\n";
    }
    return lines;
  }();
  return list.c_str();
}

int64_t mlx_coverage_counter(const char* name) {
  const Counters& counters = Process::get().counters;
  const std::string wanted = name == nullptr ? "" : name;
  if (wanted == "calls") {
    return counters.calls;
  }
  if (wanted == "zero_copied_inputs") {
    return counters.zero_copied_inputs;
  }
  if (wanted == "copied_inputs") {
    return counters.copied_inputs;
  }
  if (wanted == "compiled_programs") {
    return counters.compiled_programs;
  }
  return -1;
}

int64_t mlx_coverage_open_session(void) {
  int64_t session = -1;
  guard([&] { session = Sessions::open(); });
  return session;
}

int32_t mlx_coverage_close_session(int64_t session) {
  return static_cast<int32_t>(guard([&] { Sessions::close(session); }));
}

int32_t mlx_coverage_use_session(int64_t session) {
  return static_cast<int32_t>(guard([&] { Sessions::use(session); }));
}

int32_t mlx_coverage_reset_session(int64_t session) {
  return static_cast<int32_t>(guard([&] { Sessions::reset(session); }));
}

int32_t mlx_coverage_copy_session(int64_t from, int64_t to) {
  return static_cast<int32_t>(guard([&] { Sessions::copy(from, to); }));
}

int32_t mlx_coverage_save_session(int64_t session, const char* path, const char* note) {
  return static_cast<int32_t>(
      guard([&] { Sessions::save(session, path, note == nullptr ? "" : note); }));
}

int32_t mlx_coverage_load_session(int64_t session, const char* path) {
  return static_cast<int32_t>(guard([&] { Sessions::load(session, path); }));
}

int64_t mlx_coverage_current_session(void) {
  return Sessions::current();
}
