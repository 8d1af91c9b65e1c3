#include "arguments.h"

#include <limits>
#include <sstream>
#include <string_view>

#include <mlx/primitives.h>

#include "failure.h"
#include "functions.h"
#include "tensors.h"

namespace mlx_coverage {

namespace {

const char* describe(const Argument& argument) {
  switch (argument.tag) {
    case Tag::none:
      return "None";
    case Tag::no:
    case Tag::yes:
      return "a bool";
    case Tag::integer:
      return "an int";
    case Tag::number:
      return "a host number";
    case Tag::real:
      return "a float";
    case Tag::text:
      return "a string";
    case Tag::dtype:
      return "a dtype";
    case Tag::array:
      return "an array";
    case Tag::list:
      return "a list";
    case Tag::scalar:
      return "a scalar";
  }
  return "nothing";
}

bool is_array(const Argument& argument) {
  return argument.tag == Tag::array || argument.tag == Tag::scalar;
}

bool fits(int64_t value, mx::Dtype dtype) {
  if (!mx::issubdtype(dtype, mx::integer) || dtype.size() == 8) {
    return true;
  }
  const mx::iinfo info(dtype);
  return value >= info.min && value <= static_cast<int64_t>(info.max);
}

} // namespace

bool Call::is_number(size_t i) const {
  const Tag tag = at(i).tag;
  return tag == Tag::integer || tag == Tag::number || tag == Tag::real || tag == Tag::no ||
      tag == Tag::yes;
}

mx::array Call::array(const Argument& argument, size_t i, std::optional<mx::Dtype> dtype) const {
  if (argument.tag == Tag::array) {
    return *frame_.arrays[argument.integer];
  }
  if (argument.tag == Tag::scalar) {
    return frame_.scalars[argument.integer];
  }
  if (argument.tag == Tag::no || argument.tag == Tag::yes) {
    return mx::array(argument.tag == Tag::yes, dtype.value_or(mx::bool_));
  }
  const Number value = number(argument, i);
  if (value.is_real) {
    const mx::Dtype wanted = dtype.value_or(mx::float32);
    const bool keeps = mx::issubdtype(wanted, mx::floating);
    return mx::array(value.real, keeps ? wanted : mx::float32);
  }
  const mx::Dtype own = fits(value.integer, mx::int32) ? mx::int32 : mx::int64;
  mx::Dtype wanted = dtype.value_or(own);
  if (!fits(value.integer, wanted)) {
    std::ostringstream sentence;
    sentence << "argument " << i << ": " << value.integer << " does not fit in " << wanted << ".";
    refuse(sentence.str());
  }
  return mx::array(value.integer, wanted == mx::bool_ ? mx::int32 : wanted);
}

mx::array Call::array(size_t i, std::optional<mx::Dtype> dtype) const {
  return array(at(i), i, dtype);
}

std::optional<mx::array> Call::maybe_array(size_t i) const {
  return is_none(i) ? std::nullopt : std::optional(array(i));
}

mx::array Call::narrow_constant(size_t i, mx::Dtype dtype) const {
  const auto wide = array(i);
  if (wide.dtype() == mx::float32 && wide.has_primitive() &&
      std::string_view(wide.primitive().name()) == "AsType" && wide.inputs()[0].dtype() == dtype) {
    return wide.inputs()[0]; // widened in the program, because it would take more of the file so
  }
  const bool is_slot = at(i).tag == Tag::array && wide.dtype() == mx::float32;
  const auto found =
      is_slot ? frame_.narrow.find(static_cast<uint32_t>(at(i).integer)) : frame_.narrow.end();
  if (found == frame_.narrow.end()) {
    return wide;
  }
  auto& [is_made, value] = found->second;
  if (!is_made) {
    const auto narrow = mx::astype(wide, dtype, stream());
    const auto again = mx::astype(narrow, mx::float32, stream());
    is_made = true;
    if (mx::array_equal(again, wide, stream()).item<bool>()) {
      value = narrow;
    }
  }
  return value && value->dtype() == dtype ? *value : wide;
}

std::vector<mx::array> Call::arrays(size_t i) const {
  std::vector<mx::array> values;
  for (const auto& item : items(i)) {
    values.push_back(array(item, i, std::nullopt));
  }
  return values;
}

std::pair<mx::array, mx::array> Call::operands(size_t i, size_t j) const {
  if (is_array(at(i)) && !is_array(at(j))) {
    auto left = array(i);
    auto right = array(j, left.dtype());
    return {std::move(left), std::move(right)};
  }
  if (!is_array(at(i)) && is_array(at(j))) {
    auto right = array(j);
    return {array(i, right.dtype()), std::move(right)};
  }
  return {array(i), array(j)};
}

Number Call::number(const Argument& argument, size_t i) const {
  switch (argument.tag) {
    case Tag::integer:
      return Number::of(argument.integer);
    case Tag::number:
      return frame_.numbers[argument.integer];
    case Tag::real:
      return Number::of(argument.real);
    case Tag::no:
      return Number::of(int64_t{0});
    case Tag::yes:
      return Number::of(int64_t{1});
    default:
      fail(
          Error::InvalidProgram, "[", step_.function->name, "] argument ", i,
          ": expected a number, came ", describe(argument), ".");
  }
}

Number Call::number(size_t i) const {
  return number(at(i), i);
}

int Call::integer(const Argument& argument, size_t i) const {
  const Number value = number(argument, i);
  // Without the least: MLX negates ints, and its negative does not fit.
  if (value.is_real || !fits(value.integer, mx::int32) ||
      value.integer == std::numeric_limits<int32_t>::min()) {
    fail(
        Error::InvalidProgram, "[", step_.function->name, "] argument ", i,
        ": expected an int of 32 bits, came ",
        value.is_real ? std::to_string(value.real) : std::to_string(value.integer), ".");
  }
  return static_cast<int>(value.integer);
}

int Call::integer(size_t i) const {
  return integer(at(i), i);
}

std::optional<int> Call::maybe_integer(size_t i) const {
  return is_none(i) ? std::nullopt : std::optional(integer(i));
}

int Call::size(size_t i) const {
  const int value = integer(i);
  if (value < 0) {
    refuse(i, "an int from 0 up");
  }
  return value;
}

double Call::real(size_t i) const {
  return number(i).as_real();
}

std::optional<float> Call::maybe_real(size_t i) const {
  return is_none(i) ? std::nullopt : std::optional(static_cast<float>(real(i)));
}

bool Call::flag(size_t i) const {
  const Number value = number(i);
  return value.is_real ? value.real != 0 : value.integer != 0;
}

std::optional<bool> Call::maybe_flag(size_t i) const {
  return is_none(i) ? std::nullopt : std::optional(flag(i));
}

const std::string& Call::text(size_t i) const {
  if (!is_text(i)) {
    refuse(i, "a string");
  }
  return at(i).text;
}

mx::Dtype Call::dtype(size_t i) const {
  if (at(i).tag != Tag::dtype) {
    refuse(i, "a dtype");
  }
  return to_mlx_dtype(static_cast<uint8_t>(at(i).integer));
}

std::optional<mx::Dtype> Call::maybe_dtype(size_t i) const {
  return is_none(i) ? std::nullopt : std::optional(dtype(i));
}

const std::vector<Argument>& Call::items(size_t i) const {
  if (!is_list(i)) {
    refuse(i, "a list");
  }
  return at(i).items;
}

std::vector<int> Call::integers(size_t i) const {
  std::vector<int> values;
  for (const auto& item : items(i)) {
    values.push_back(integer(item, i));
  }
  return values;
}

std::vector<int64_t> Call::wide_integers(size_t i) const {
  std::vector<int64_t> values;
  for (const auto& item : items(i)) {
    const Number value = number(item, i);
    if (value.is_real) {
      refuse(i, "ints");
    }
    values.push_back(value.integer);
  }
  return values;
}

std::vector<int> Call::one_or_more(size_t i) const {
  return is_list(i) ? integers(i) : std::vector<int>{integer(i)};
}

std::optional<std::vector<int>> Call::maybe_integers(size_t i) const {
  return is_none(i) ? std::nullopt : std::optional(one_or_more(i));
}

std::vector<int> Call::axes(size_t i, size_t rank) const {
  if (!is_none(i)) {
    return one_or_more(i);
  }
  std::vector<int> all(rank);
  for (size_t axis = 0; axis < rank; ++axis) {
    all[axis] = static_cast<int>(axis);
  }
  return all;
}

mx::Shape Call::shape(size_t i) const {
  const std::vector<int> sizes = one_or_more(i);
  for (const int size : sizes) {
    if (size < 0) {
      refuse(i, "sizes from 0 up");
    }
  }
  return mx::Shape(sizes.begin(), sizes.end());
}

std::vector<std::vector<int>> Call::integer_lists(size_t i) const {
  std::vector<std::vector<int>> lists;
  for (const auto& list : items(i)) {
    if (list.tag != Tag::list) {
      refuse(i, "a list of lists of ints");
    }
    auto& values = lists.emplace_back();
    for (const auto& item : list.items) {
      values.push_back(integer(item, i));
    }
  }
  return lists;
}

void Call::demand(const mx::array& taken) const {
  const auto s = stream();
  const auto none = mx::array(int32_t{0});
  const auto number = mx::array(static_cast<int32_t>(frame_.step));
  const auto fault = mx::where(mx::all(taken, s), none, number, s);
  const auto earlier = frame_.fault.value_or(none);
  frame_.fault = mx::where(mx::equal(earlier, none, s), fault, earlier, s);
}

void refuse_values(const Function& function) {
  fail(Error::InvalidArgument, "[", function.name, "] expected ", function.demand, ".");
}

void Call::refuse_values() const {
  mlx_coverage::refuse_values(*step_.function);
}

void Call::refuse(size_t i, const std::string& expected) const {
  fail(
      Error::InvalidProgram, "[", step_.function->name, "] argument ", i, ": expected ", expected,
      ", came ", describe(at(i)), ".");
}

void Call::refuse(const std::string& sentence) const {
  fail(Error::InvalidProgram, "[", step_.function->name, "] ", sentence);
}

} // namespace mlx_coverage
