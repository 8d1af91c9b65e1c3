#include "payload.h"

#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include <mlx/version.h>

#include "bytes.h"
#include "failure.h"
#include "functions.h"

namespace mlx_coverage {

namespace {

constexpr char kMagic[] = "MLXCOVPG";
constexpr uint32_t kFormat = 2;
constexpr size_t kHeaderSize = 40;
constexpr uint32_t kNoText = 0xFFFFFFFF;
constexpr int kMaxNesting = 4;
constexpr uint32_t kMaxRank = 16;

std::string name_version(uint32_t version) {
  return std::to_string(version / 1000000) + "." + std::to_string(version / 1000 % 1000) + "." +
      std::to_string(version % 1000);
}

class BodyReader {
 public:
  BodyReader(const uint8_t* data, size_t size) : reader_(data, size) {}

  Program read() {
    read_strings();
    read_functions();
    read_spaces();
    read_inputs();
    read_constants();
    read_states();
    read_steps();
    read_outputs();
    read_updates();
    if (reader_.remaining() != 0) {
      fail(Error::InvalidProgram, "[payload] ", reader_.remaining(), " bytes follow the body.");
    }
    program_.release_slots();
    return std::move(program_);
  }

 private:
  void read_strings() {
    strings_.resize(reader_.read_count("strings", 4));
    for (auto& text : strings_) {
      text = reader_.read_text();
    }
  }

  void read_functions() {
    functions_.resize(reader_.read_count("functions", 8));
    for (auto& function : functions_) {
      const std::string& name = text_at(reader_.read<uint32_t>());
      const uint32_t arity = reader_.read<uint32_t>();
      function = find_function(name);
      if (function == nullptr) {
        fail(
            Error::NotSupported, "[payload] the function '", name,
            "' is not known to this runtime: update mlx-coverage or lower the model again.");
      }
      if (function->arity != arity) {
        fail(
            Error::NotSupported, "[payload] '", name, "' takes ", int(function->arity),
            " arguments here, the payload gives ", arity, ": lower the model again.");
      }
    }
  }

  void read_spaces() {
    program_.array_slots = reader_.read<uint32_t>();
    program_.number_slots = reader_.read<uint32_t>();
    // Whatever fills a slot takes four bytes at least.
    const size_t most = reader_.remaining() / 4;
    if (program_.array_slots > most || program_.number_slots > most) {
      fail(
          Error::InvalidProgram, "[payload] ", program_.array_slots, " array and ",
          program_.number_slots, " number slots do not fit in the body.");
    }
    arrays_.resize(program_.array_slots);
    numbers_.resize(program_.number_slots);
  }

  void read_inputs() {
    const uint32_t count = reader_.read_count("inputs", 5);
    for (uint32_t i = 0; i < count; ++i) {
      Input input{read_kind(), reader_.read<uint32_t>(), {}};
      if (input.kind == Kind::tensor) {
        input.type = read_type(-1);
      }
      define(input.kind == Kind::tensor ? arrays_ : numbers_, input.slot);
      program_.inputs.push_back(std::move(input));
    }
  }

  void read_constants() {
    const uint32_t count = reader_.read_count("constants", 13);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t slot = reader_.read<uint32_t>();
      const std::string& key = text_at(reader_.read<uint32_t>());
      define(arrays_, slot);
      program_.constants.push_back({slot, key, read_type(0)});
    }
  }

  void read_states() {
    const uint32_t count = reader_.read_count("states", 17);
    std::set<std::string> names;
    for (uint32_t i = 0; i < count; ++i) {
      State state{reader_.read<uint32_t>(), read_optional_text(), read_optional_text(), {}};
      if (state.name && !names.insert(*state.name).second) {
        fail(Error::InvalidProgram, "[payload] the state '", *state.name, "' is there twice.");
      }
      define(arrays_, state.slot);
      state.type = read_type(0);
      program_.states.push_back(std::move(state));
    }
  }

  void read_steps() {
    const uint32_t count = reader_.read_count("calls", 8);
    program_.steps.reserve(count);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t index = reader_.read<uint32_t>();
      if (index >= functions_.size()) {
        fail(
            Error::InvalidProgram, "[payload] call ", i, ": function ", index, " of ",
            functions_.size(), ".");
      }
      Step step;
      step.function = functions_[index];
      step.results.resize(reader_.read_count("results", 4));
      for (auto& slot : step.results) {
        slot = reader_.read<uint32_t>();
      }
      for (int k = 0; k < step.function->arity; ++k) {
        step.arguments.push_back(read_argument(0));
      }
      // After its arguments: a call may not read its own results.
      const bool is_host = step.function->is_host();
      if (is_host && step.results.size() != 1) {
        fail(
            Error::InvalidProgram, "[payload] ", step.function->name, ": expected 1 result, came ",
            step.results.size(), ".");
      }
      for (const uint32_t slot : step.results) {
        define(is_host ? numbers_ : arrays_, slot);
      }
      program_.steps.push_back(std::move(step));
    }
  }

  void read_outputs() {
    const uint32_t count = reader_.read_count("outputs", 5);
    for (uint32_t i = 0; i < count; ++i) {
      Output output{read_kind(), reader_.read<uint32_t>(), 0};
      const bool is_tensor = output.kind == Kind::tensor;
      use(is_tensor ? arrays_ : numbers_, output.slot);
      if (is_tensor) {
        output.dtype = read_dtype();
      }
      program_.outputs.push_back(output);
    }
  }

  void read_updates() {
    const uint32_t count = reader_.read_count("updates", 8);
    std::vector<bool> updated(program_.states.size());
    for (uint32_t i = 0; i < count; ++i) {
      const Update update{reader_.read<uint32_t>(), reader_.read<uint32_t>()};
      if (update.state >= updated.size() || updated[update.state]) {
        fail(
            Error::InvalidProgram, "[payload] update ", i, ": state ", update.state,
            " does not exist or is updated twice.");
      }
      updated[update.state] = true;
      use(arrays_, update.slot);
      program_.updates.push_back(update);
    }
  }

  Argument read_argument(int depth) {
    Argument argument;
    const uint8_t tag = reader_.read<uint8_t>();
    argument.tag = static_cast<Tag>(tag);
    switch (argument.tag) {
      case Tag::none:
      case Tag::no:
      case Tag::yes:
        break;
      case Tag::integer:
        argument.integer = reader_.read<int64_t>();
        break;
      case Tag::number:
        argument.integer = use(numbers_, reader_.read<uint32_t>());
        break;
      case Tag::real:
        argument.real = reader_.read<double>();
        break;
      case Tag::text:
        argument.text = text_at(reader_.read<uint32_t>());
        break;
      case Tag::dtype:
        argument.integer = read_dtype();
        break;
      case Tag::array:
        argument.integer = use(arrays_, reader_.read<uint32_t>());
        break;
      case Tag::list:
        if (depth == kMaxNesting) {
          fail(Error::InvalidProgram, "[payload] lists nest deeper than ", kMaxNesting, ".");
        }
        argument.items.resize(reader_.read_count("list", 1));
        for (auto& item : argument.items) {
          item = read_argument(depth + 1);
        }
        break;
      case Tag::scalar:
        argument.integer = static_cast<int64_t>(program_.scalars.size());
        program_.scalars.push_back(read_scalar());
        break;
      default:
        fail(Error::InvalidProgram, "[payload] argument tag ", int(tag), " is not known.");
    }
    return argument;
  }

  Scalar read_scalar() {
    Scalar scalar{read_dtype(), false, 0, 0};
    const uint8_t kind = reader_.read<uint8_t>();
    if (kind > 1) {
      fail(Error::InvalidProgram, "[payload] scalar kind ", int(kind), " is not known.");
    }
    scalar.is_real = kind == 1;
    if (scalar.is_real) {
      scalar.real = reader_.read<double>();
    } else {
      scalar.integer = reader_.read<int64_t>();
    }
    return scalar;
  }

  Kind read_kind() {
    const uint8_t kind = reader_.read<uint8_t>();
    if (kind > 3) {
      fail(Error::InvalidProgram, "[payload] value kind ", int(kind), " is not known.");
    }
    return static_cast<Kind>(kind);
  }

  uint8_t read_dtype() {
    const uint8_t dtype = reader_.read<uint8_t>();
    if (item_size(dtype) == 0) {
      fail(Error::InvalidProgram, "[payload] dtype ", int(dtype), " is not known.");
    }
    return dtype;
  }

  TensorType read_type(int64_t least) {
    TensorType type;
    type.dtype = read_dtype();
    const uint32_t rank = reader_.read<uint32_t>();
    if (rank > kMaxRank) {
      fail(Error::InvalidProgram, "[payload] rank ", rank, " is above ", kMaxRank, ".");
    }
    uint64_t bytes = item_size(type.dtype);
    for (uint32_t i = 0; i < rank; ++i) {
      const int64_t dim = reader_.read<int64_t>();
      // MLX sizes are 32 bits. The product must not wrap, for byte counts are compared with it.
      if (dim < least || dim > std::numeric_limits<int32_t>::max() ||
          (dim > 1 && bytes > (uint64_t{1} << 62) / static_cast<uint64_t>(dim))) {
        fail(
            Error::InvalidProgram, "[payload] size ", dim, " of dimension ", i,
            " is out of range.");
      }
      bytes *= dim > 1 ? static_cast<uint64_t>(dim) : 1;
      type.dims.push_back(dim);
    }
    return type;
  }

  std::optional<std::string> read_optional_text() {
    const uint32_t index = reader_.read<uint32_t>();
    return index == kNoText ? std::nullopt : std::optional(text_at(index));
  }

  const std::string& text_at(uint32_t index) const {
    if (index >= strings_.size()) {
      fail(Error::InvalidProgram, "[payload] string ", index, " of ", strings_.size(), ".");
    }
    return strings_[index];
  }

  static void define(std::vector<bool>& space, uint32_t slot) {
    if (slot >= space.size()) {
      fail(Error::InvalidProgram, "[payload] slot ", slot, " of ", space.size(), ".");
    }
    if (space[slot]) {
      fail(Error::InvalidProgram, "[payload] slot ", slot, " is written twice.");
    }
    space[slot] = true;
  }

  static uint32_t use(const std::vector<bool>& space, uint32_t slot) {
    if (slot >= space.size() || !space[slot]) {
      fail(Error::InvalidProgram, "[payload] slot ", slot, " is read before it is written.");
    }
    return slot;
  }

  Reader reader_;
  Program program_;
  std::vector<std::string> strings_;
  std::vector<const Function*> functions_;
  std::vector<bool> arrays_; // slots written so far
  std::vector<bool> numbers_;
};

} // namespace

Program read_program(const uint8_t* data, size_t size) {
  if (data == nullptr || size < kHeaderSize || std::memcmp(data, kMagic, 8) != 0) {
    fail(
        Error::InvalidProgram, "[payload] expected a program of mlx-coverage, came ", size,
        " other bytes.");
  }
  Reader header(data + 8, kHeaderSize - 8);
  const uint32_t format = header.read<uint32_t>();
  if (format != kFormat) {
    fail(
        Error::DelegateInvalidCompatibility, "[payload] format ", format,
        " came, this runtime reads format ", kFormat,
        format > kFormat ? ": update mlx-coverage." : ": lower the model again.");
  }
  const uint32_t reserved = header.read<uint32_t>();
  const uint32_t mlx_min = header.read<uint32_t>();
  const uint32_t mlx_end = header.read<uint32_t>();
  const uint64_t body_size = header.read<uint64_t>();
  const uint32_t crc = header.read<uint32_t>();
  if (reserved != 0 || header.read<uint32_t>() != 0) {
    fail(Error::InvalidProgram, "[payload] expected zeros in the reserved fields of the header.");
  }
  if (body_size != size - kHeaderSize) {
    fail(
        Error::InvalidProgram, "[payload] expected a body of ", body_size, " bytes, came ",
        size - kHeaderSize, ".");
  }
  if (compute_crc(data + kHeaderSize, body_size) != crc) {
    fail(Error::InvalidProgram, "[payload] the checksum of the body is wrong: it is damaged.");
  }
  const uint32_t mlx = MLX_VERSION_MAJOR * 1000000 + MLX_VERSION_MINOR * 1000 + MLX_VERSION_PATCH;
  if (mlx < mlx_min || mlx >= mlx_end) {
    fail(
        Error::DelegateInvalidCompatibility, "[payload] expected MLX from ", name_version(mlx_min),
        " to before ", name_version(mlx_end), ", came ", name_version(mlx), ".");
  }
  return BodyReader(data + kHeaderSize, body_size).read();
}

} // namespace mlx_coverage
