// A call's arguments as the rows of the function table see them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <mlx/mlx.h>

#include "program.h"

namespace mlx_coverage {

namespace mx = mlx::core;

// A host value: what Python calls an int or a float.
struct Number {
  bool is_real = false;
  int64_t integer = 0;
  double real = 0;

  static Number of(int64_t value) {
    return {false, value, 0};
  }
  static Number of(double value) {
    return {true, 0, value};
  }
  double as_real() const {
    return is_real ? real : static_cast<double>(integer);
  }
};

// A constant in a narrower dtype, once that was asked for; none where numbers would be lost.
struct NarrowConstant {
  bool is_made = false;
  std::optional<mx::array> value;
};
using NarrowConstants = std::map<uint32_t, NarrowConstant>; // by the slot of each constant

// The values of one execution.
struct Frame {
  std::vector<std::optional<mx::array>> arrays;
  std::vector<Number> numbers;
  const std::vector<mx::array>& scalars;
  mx::Stream stream;
  NarrowConstants& narrow; // of the delegate, values filled on demand
  size_t step = 0; // the number of the one that runs
  // The number of a step that was given values that it does not take, from 1; 0 for none. It is
  // known only when the results are: the first of several wins.
  std::optional<mx::array> fault = std::nullopt;
};

// Throws: a step was given values that its function does not take.
[[noreturn]] void refuse_values(const Function& function);

// Reads arguments by position and converts them as MLX's Python binding does. Everything that
// does not fit throws: "[function] argument i: expected ..., came ...".
class Call {
 public:
  Call(const Step& step, Frame& frame) : step_(step), frame_(frame), stream_(frame.stream) {}

  mx::Stream stream() const {
    return stream_;
  }
  bool on_cpu() const {
    return stream_.device == mx::Device::cpu;
  }
  void move_to(mx::Stream stream) {
    stream_ = stream;
  }
  size_t results() const {
    return step_.results.size();
  }

  bool is_none(size_t i) const {
    return at(i).tag == Tag::none;
  }
  bool is_list(size_t i) const {
    return at(i).tag == Tag::list;
  }
  bool is_text(size_t i) const {
    return at(i).tag == Tag::text;
  }
  bool is_number(size_t i) const;

  // A Python number becomes an array of `dtype` where that dtype can hold it, else of its own.
  mx::array array(size_t i, std::optional<mx::Dtype> dtype = std::nullopt) const;
  std::optional<mx::array> maybe_array(size_t i) const;
  // A float32 constant, or what was widened to one, in a narrower dtype, where that holds every
  // number of it; else as it is. Made once for each constant.
  mx::array narrow_constant(size_t i, mx::Dtype dtype) const;
  std::vector<mx::array> arrays(size_t i) const;
  // Two operands: a Python number takes the dtype of the other operand, if that is an array.
  std::pair<mx::array, mx::array> operands(size_t i, size_t j) const;

  Number number(size_t i) const;
  int integer(size_t i) const;
  std::optional<int> maybe_integer(size_t i) const;
  // A size: an integer from 0 up.
  int size(size_t i) const;
  double real(size_t i) const;
  std::optional<float> maybe_real(size_t i) const;
  bool flag(size_t i) const;
  std::optional<bool> maybe_flag(size_t i) const;
  const std::string& text(size_t i) const;
  mx::Dtype dtype(size_t i) const;
  std::optional<mx::Dtype> maybe_dtype(size_t i) const;

  std::vector<int> integers(size_t i) const;
  std::vector<int64_t> wide_integers(size_t i) const;
  // An int or a list of ints, as a list.
  std::vector<int> one_or_more(size_t i) const;
  std::optional<std::vector<int>> maybe_integers(size_t i) const;
  // None, an int or a list of ints: None means all of `rank` axes.
  std::vector<int> axes(size_t i, size_t rank) const;
  // A shape whose sizes are known: an int or a list of ints, each from 0 up.
  mx::Shape shape(size_t i) const;
  // One int for each of N spatial dimensions; a single int stands for all of them.
  template <size_t N>
  std::array<int, N> spatial(size_t i, int least) const {
    std::array<int, N> values;
    const std::vector<int> given = one_or_more(i);
    if (given.size() != N && is_list(i)) {
      refuse(i, "a list of " + std::to_string(N) + " ints");
    }
    for (size_t k = 0; k < N; ++k) {
      values[k] = is_list(i) ? given[k] : given[0];
      if (values[k] < least) {
        refuse(i, "ints from " + std::to_string(least) + " up");
      }
    }
    return values;
  }
  // A list of lists of ints.
  std::vector<std::vector<int>> integer_lists(size_t i) const;
  const std::vector<Argument>& items(size_t i) const;
  Number number(const Argument& argument, size_t i) const;

  // The execution fails where `taken`, of booleans, is not true throughout: what `demand` of the
  // function's row says.
  void demand(const mx::array& taken) const;

  // Throws what `demand` would.
  [[noreturn]] void refuse_values() const;
  // Throws: argument i is not what was expected.
  [[noreturn]] void refuse(size_t i, const std::string& expected) const;
  // Throws: `sentence`, opened by the function's name.
  [[noreturn]] void refuse(const std::string& sentence) const;

 private:
  const Argument& at(size_t i) const {
    return step_.arguments[i];
  }
  int integer(const Argument& argument, size_t i) const;
  mx::array array(const Argument& argument, size_t i, std::optional<mx::Dtype> dtype) const;

  const Step& step_;
  Frame& frame_;
  mx::Stream stream_;
};

} // namespace mlx_coverage
