#include "session.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "failure.h"
#include "process.h"
#include "tensors.h"

namespace mlx_coverage {

namespace {

using executorch::runtime::BackendInitContext;

// Named data that stands in every program whose delegates share a buffer, whatever else it holds.
constexpr const char* kKey = "mlx_coverage/session";

const char* find_key(const executorch::runtime::NamedDataMap* map) {
  if (map == nullptr) {
    return nullptr;
  }
  const auto count = map->get_num_keys();
  for (uint32_t i = 0; count.ok() && i < *count; ++i) {
    const auto key = map->get_key(i);
    if (key.ok() && std::strcmp(*key, kKey) == 0) {
      return *key;
    }
  }
  return nullptr;
}

} // namespace

SharedBuffers::Origin SharedBuffers::Origin::of(BackendInitContext& context) {
  const auto* map = context.get_named_data_map();
  const char* key = find_key(map);
  if (key == nullptr) {
    fail(
        Error::InvalidExternalData, "[session] expected the named data '", kKey,
        "' of a program whose delegates share buffers.");
  }
  return {key, map, context.get_runtime_allocator()};
}

// One file in memory may be loaded twice, and has its keys in one place then: the map tells such
// programs apart. With external data, ExecuTorch makes a map for each method; its Module and its
// Python binding have one allocator for all methods of a program.
bool SharedBuffers::Origin::is_same(const Origin& other) const {
  return key == other.key && (data == other.data || allocator == other.allocator);
}

std::shared_ptr<SharedBuffers> SharedBuffers::find(BackendInitContext& context) {
  static auto& programs = *new std::vector<std::weak_ptr<SharedBuffers>>;
  const Origin origin = Origin::of(context);
  std::erase_if(programs, [](const auto& program) { return program.expired(); });
  for (const auto& weak : programs) {
    if (auto program = weak.lock(); program->origin_.is_same(origin)) {
      return program;
    }
  }
  std::shared_ptr<SharedBuffers> program(new SharedBuffers(origin));
  programs.push_back(program);
  return program;
}

std::shared_ptr<Buffer> SharedBuffers::find_buffer(
    const State& state,
    const std::function<std::optional<mx::array>()>& initialize) {
  const auto found = buffers_.find(*state.name);
  if (found == buffers_.end()) {
    auto buffer = std::make_shared<Buffer>(*state.name, state.type, initialize());
    buffers_.emplace(*state.name, buffer);
    return buffer;
  }
  const TensorType& type = found->second->type();
  if (type.dtype != state.type.dtype || type.dims != state.type.dims) {
    fail(
        Error::InvalidProgram, "[state] '", *state.name,
        "' has another dtype or shape in another method of the program.");
  }
  return found->second;
}

Buffer::Buffer(std::string key, TensorType type, std::optional<mx::array> initial)
    : key_(std::move(key)), type_(std::move(type)), initial_(std::move(initial)) {
  Sessions::get().buffers_.insert(this);
}

Buffer::~Buffer() {
  Sessions::get().buffers_.erase(this);
}

Value& Buffer::in(SessionNumber session) {
  if (const auto found = values_.find(session); found != values_.end()) {
    return found->second;
  }
  auto& loaded = Sessions::get().loaded_.at(session);
  const mx::Shape shape(type_.dims.begin(), type_.dims.end());
  const mx::Dtype dtype = to_mlx_dtype(type_.dtype);
  if (loaded.empty()) {
    return values_.emplace(session, Value{initial_ ? *initial_ : own_memory(nullptr, shape, dtype)})
        .first->second;
  }
  const auto found = loaded.find(key_);
  if (found == loaded.end() || found->second.shape() != shape || found->second.dtype() != dtype) {
    fail(
        Error::InvalidState,
        "[session] the file that was loaded is of another program: it has no "
        "state '",
        key_, "' of ", shape, " ", dtype, ".");
  }
  Value& value = values_.emplace(session, Value{found->second}).first->second;
  loaded.erase(found);
  return value;
}

namespace {

thread_local SessionNumber current_session = 0;

std::unique_lock<std::mutex> lock_work() {
  Process::get().refuse_fork();
  return std::unique_lock(Process::get().work);
}

} // namespace

Sessions& Sessions::get() {
  static auto& sessions = *new Sessions;
  return sessions;
}

SessionNumber Sessions::current() {
  return current_session;
}

void Sessions::check(SessionNumber session) {
  if (!get().loaded_.contains(session)) {
    fail(Error::InvalidState, "[session] there is no open session ", session, ".");
  }
}

void Sessions::forget(SessionNumber session) {
  for (Buffer* buffer : buffers_) {
    buffer->values_.erase(session);
  }
  loaded_.at(session).clear();
}

SessionNumber Sessions::open() {
  const auto lock = lock_work();
  const SessionNumber session = get().next_++;
  get().loaded_.emplace(session, Arrays{});
  return session;
}

void Sessions::close(SessionNumber session) {
  const auto lock = lock_work();
  check(session);
  if (session == 0) {
    fail(Error::InvalidArgument, "[session] session 0 stays open.");
  }
  get().forget(session);
  get().loaded_.erase(session);
  if (current_session == session) {
    current_session = 0;
  }
}

void Sessions::use(SessionNumber session) {
  const auto lock = lock_work();
  check(session);
  current_session = session;
}

void Sessions::reset(SessionNumber session) {
  const auto lock = lock_work();
  check(session);
  get().forget(session);
}

void Sessions::copy(SessionNumber from, SessionNumber to) {
  const auto lock = lock_work();
  check(from);
  check(to);
  if (from == to) {
    return;
  }
  Sessions& sessions = get();
  sessions.forget(to);
  for (Buffer* buffer : sessions.buffers_) {
    if (const auto found = buffer->values_.find(from); found != buffer->values_.end()) {
      const Value value = found->second;
      buffer->values_.insert_or_assign(to, value);
    }
  }
  sessions.loaded_.at(to) = sessions.loaded_.at(from);
}

void Sessions::save(SessionNumber session, const std::string& path, const std::string& note) {
  const auto lock = lock_work();
  check(session);
  Arrays arrays = get().loaded_.at(session);
  for (const Buffer* buffer : get().buffers_) {
    const auto found = buffer->values_.find(session);
    if (found == buffer->values_.end()) {
      continue;
    }
    if (!found->second.array) {
      fail(Error::InvalidState, "[session] a call failed while it replaced the state: reset it.");
    }
    if (!arrays.emplace(buffer->key_, *found->second.array).second) {
      fail(
          Error::InvalidState, "[session] two loaded programs keep a state '", buffer->key_,
          "' in it; give each program a session of its own.");
    }
  }
  if (arrays.empty()) {
    fail(Error::InvalidState, "[session] there is no state to save: no call was made in it.");
  }
  mx::save_safetensors(path, std::move(arrays), {{"note", note}});
}

void Sessions::load(SessionNumber session, const std::string& path) {
  const auto lock = lock_work();
  check(session);
  const mx::Stream stream = Process::get().stream();
  Arrays arrays = mx::load_safetensors(path, stream).first;
  std::vector<mx::array> wanted;
  for (const auto& [key, array] : arrays) {
    wanted.push_back(array);
  }
  mx::eval(wanted);
  get().forget(session);
  get().loaded_.at(session) = std::move(arrays);
}

} // namespace mlx_coverage
