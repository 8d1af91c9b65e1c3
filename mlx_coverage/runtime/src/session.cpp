#include "session.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "failure.h"

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

Session::Origin Session::Origin::of(BackendInitContext& context) {
  const auto* map = context.get_named_data_map();
  const char* key = find_key(map);
  if (key == nullptr) {
    fail(Error::InvalidExternalData, "[session] expected the named data '", kKey,
         "' of a program whose delegates share buffers.");
  }
  return {key, map, context.get_runtime_allocator()};
}

// One file in memory may be loaded twice, and has its keys in one place then: the map tells such
// programs apart. With external data, ExecuTorch makes a map for each method; its Module and its
// Python binding have one allocator for all methods of a program.
bool Session::Origin::is_same(const Origin& other) const {
  return key == other.key && (data == other.data || allocator == other.allocator);
}

std::shared_ptr<Session> Session::find(BackendInitContext& context) {
  static auto& sessions = *new std::vector<std::weak_ptr<Session>>;
  const Origin origin = Origin::of(context);
  std::erase_if(sessions, [](const auto& session) { return session.expired(); });
  for (const auto& weak : sessions) {
    if (auto session = weak.lock(); session->origin_.is_same(origin)) {
      return session;
    }
  }
  std::shared_ptr<Session> session(new Session(origin));
  sessions.push_back(session);
  return session;
}

std::shared_ptr<Buffer> Session::find_buffer(
    const State& state, const std::function<mx::array()>& initialize) {
  const auto found = buffers_.find(*state.name);
  if (found == buffers_.end()) {
    auto buffer = std::make_shared<Buffer>(Buffer{initialize()});
    buffers_.emplace(*state.name, Entry{state.type, buffer});
    return buffer;
  }
  const TensorType& type = found->second.type;
  if (type.dtype != state.type.dtype || type.dims != state.type.dims) {
    fail(Error::InvalidProgram, "[state] '", *state.name,
         "' has another dtype or shape in another method of the program.");
  }
  return found->second.buffer;
}

} // namespace mlx_coverage
