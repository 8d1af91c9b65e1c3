// A recorded MLX program: calls of functions by name, over numbered slots (docs/payload.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlx_coverage {

struct Function;

enum class Kind : uint8_t { tensor = 0, integer = 1, real = 2, boolean = 3 };

enum class Tag : uint8_t {
  none = 0,
  no = 1,
  yes = 2,
  integer = 3,
  number = 4,
  real = 5,
  text = 6,
  dtype = 7,
  array = 8,
  list = 9,
  scalar = 10,
};

struct Argument {
  Tag tag = Tag::none;
  int64_t integer = 0; // integer; the slot of number and array; the index of scalar; the dtype
  double real = 0;
  std::string text;
  std::vector<Argument> items;
};

struct TensorType {
  uint8_t dtype = 0; // c10::ScalarType
  std::vector<int64_t> dims; // -1 is a dynamic size
  size_t bytes() const; // of a static type
};

struct Input {
  Kind kind;
  uint32_t slot;
  TensorType type;
};

struct Constant {
  uint32_t slot;
  std::string key;
  TensorType type;
};

struct State {
  uint32_t slot;
  std::optional<std::string> key; // without a key: zeros
  std::optional<std::string> name; // without a name: this delegate's own
  TensorType type;
};

struct Scalar {
  uint8_t dtype;
  bool is_real;
  int64_t integer;
  double real;
};

struct Step {
  const Function* function;
  std::vector<uint32_t> results;
  std::vector<Argument> arguments;
  std::vector<uint32_t> released; // array slots that nothing reads after this step
};

struct Output {
  Kind kind;
  uint32_t slot;
  uint8_t dtype;
};

struct Update {
  uint32_t state;
  uint32_t slot;
};

struct Program {
  uint32_t array_slots = 0;
  uint32_t number_slots = 0;
  std::vector<Input> inputs;
  std::vector<Constant> constants;
  std::vector<State> states;
  std::vector<Scalar> scalars;
  std::vector<Step> steps;
  std::vector<Output> outputs;
  std::vector<Update> updates;

  // No host value enters, leaves or is computed from data: what mx::compile requires.
  bool is_pure() const;

  // Fills `released` of each step: a slot is released by the last step that reads it, outputs and
  // new states excepted, because MLX reuses the buffer of an array that nothing else refers to.
  void release_slots();
};

// Bytes of one element of a c10::ScalarType number, or 0 when the payload format lacks it.
size_t item_size(uint8_t dtype);

} // namespace mlx_coverage
