#include "bounds.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

#include <mlx/primitives.h>

#include "failure.h"
#include "functions.h"
#include "process.h"

namespace mlx_coverage {

namespace {

// MLX's primitives whose results are views of their first input. Flatten is not among them, and
// Reshape not always: they copy what lies in memory in another order.
constexpr std::string_view kViews[] = {"AsStrided", "Broadcast",    "BroadcastAxes", "Copy",
                                       "Depends",   "ExpandDims",   "Slice",         "Split",
                                       "Squeeze",   "StopGradient", "Transpose",     "Unflatten"};
// Primitives that read parts of a view without a copy of it,
constexpr std::string_view kPartReaders[] = {"DynamicSlice", "Gather", "GatherAxis"};
// and those that do so on a CPU with all of it.
constexpr std::string_view kWholeReaders[] = {"And", "ArgReduce", "Max", "Min",
                                              "Or",  "Prod",      "Sum"};
// A view that is read whole costs no memory, but time: no program that makes sense asks for more.
constexpr uint64_t kMostReads = 64;

template <size_t N>
bool is_one_of(const std::string_view (&names)[N], std::string_view name) {
  return std::find(names, names + N, name) != names + N;
}

// Bytes of all elements, at most 2^63: MLX multiplies sizes without a look at overflow.
uint64_t count_bytes(const mx::array& array) {
  constexpr uint64_t most = uint64_t{1} << 63;
  uint64_t bytes = array.itemsize();
  for (const auto size : array.shape()) {
    if (size == 0) {
      return 0;
    }
    const auto factor = static_cast<uint64_t>(size);
    bytes = bytes > most / factor ? most : bytes * factor;
  }
  return bytes;
}

// Whether each size of `whole` is a product of sizes of `parts`, in order: such a reshape is a view
// whatever the strides.
bool only_splits(const mx::Shape& whole, const mx::Shape& parts) {
  size_t next = 0;
  for (const int64_t size : whole) {
    int64_t product = 1;
    while (product < size && next < parts.size()) {
      product *= parts[next++];
    }
    if (product != size) {
      return false;
    }
  }
  return std::all_of(parts.begin() + next, parts.end(), [](int size) { return size == 1; });
}

bool is_view(const mx::array& array, std::string_view maker) {
  return is_one_of(kViews, maker) ||
      (maker == "Reshape" && only_splits(array.inputs()[0].shape(), array.shape()));
}

[[noreturn]] void refuse_memory(std::string_view holder, const mx::array& array) {
  fail(
      Error::MemoryAllocationFailed, "[", holder, "] needs memory for an array of shape ",
      array.shape(), " of ", array.dtype(), ", above the limit of ",
      Process::get().max_array_bytes(), " bytes (max_array_bytes).");
}

void expect_sizes(std::string_view holder, const mx::array& array) {
  for (const auto size : array.shape()) {
    if (size < 0) {
      fail(Error::InvalidProgram, "[", holder, "] came to the shape ", array.shape(), ".");
    }
  }
}

// MLX multiplies and adds sizes in 32 bits, where they may wrap.
void expect_all_elements(std::string_view holder, const mx::array& array, std::string_view maker) {
  constexpr std::string_view keepers[] = {"Concatenate", "Flatten", "Reshape", "Unflatten"};
  if (!is_one_of(keepers, maker)) {
    return;
  }
  size_t elements = 0;
  for (const auto& input : array.inputs()) {
    elements += input.size();
  }
  if (elements != array.size()) {
    fail(
        Error::InvalidProgram, "[", holder, "] came to the shape ", array.shape(), " for ",
        elements, " elements: MLX's sizes have 32 bits.");
  }
}

// Whether `result`, made by the primitive `reader`, takes a view that is larger than memory.
bool reads_in_place(
    const mx::array& result,
    std::string_view reader,
    const mx::array& view,
    mx::Stream s) {
  // as_strided lays its input out first.
  if (reader != "AsStrided" && (is_view(result, reader) || is_one_of(kPartReaders, reader))) {
    return true;
  }
  return s.device == mx::Device::cpu && is_one_of(kWholeReaders, reader) &&
      count_bytes(view) / kMostReads <= Process::get().max_array_bytes();
}

// A few numbers: to look through them costs less than a set's memory.
using Ids = std::vector<std::uintptr_t>;

void collect_ids(const Argument& argument, const Frame& frame, Ids& ids) {
  if (argument.tag == Tag::array) {
    ids.push_back(frame.arrays[argument.integer]->id());
  }
  for (const auto& item : argument.items) {
    collect_ids(item, frame, ids);
  }
}

// Whether the host can read the elements, in order, before anything is evaluated: of an input, a
// state or a constant.
bool is_at_hand(const mx::array& indices) {
  return indices.is_available() && indices.flags().row_contiguous;
}

template <typename T>
void expect_inside(const Call& call, const mx::array& indices, int64_t size) {
  const T* first = indices.data<T>();
  const auto is_inside = [size](int64_t index) { return -size <= index && index < size; };
  if (!std::all_of(first, first + indices.size(), is_inside)) {
    call.refuse_values();
  }
}

} // namespace

void expect_memory(std::string_view holder, const mx::array& array) {
  if (count_bytes(array) > Process::get().max_array_bytes()) {
    refuse_memory(holder, array);
  }
}

void check_memory(const Step& step, const Frame& frame, const mx::array* results, size_t count) {
  const std::string_view name = step.function->name;
  const uint64_t most = Process::get().max_array_bytes();
  // Kept between calls, which are many and short; the lock of all MLX work is held.
  static Ids seen;
  static std::vector<const mx::array*> pending;
  seen.clear();
  pending.clear();
  for (const auto& argument : step.arguments) {
    collect_ids(argument, frame, seen);
  }
  for (size_t i = 0; i < count; ++i) {
    pending.push_back(results + i);
  }
  while (!pending.empty()) {
    const mx::array& array = *pending.back();
    pending.pop_back();
    if (std::find(seen.begin(), seen.end(), array.id()) != seen.end()) {
      continue;
    }
    seen.push_back(array.id());
    expect_sizes(name, array);
    const bool is_lazy = array.has_primitive();
    const std::string_view maker = is_lazy ? array.primitive().name() : "";
    const uint64_t bytes = count_bytes(array);
    // The strides of a view are 64 bits.
    if (bytes > (is_lazy && is_view(array, maker) ? uint64_t{1} << 62 : most)) {
      refuse_memory(name, array);
    }
    if (!is_lazy) {
      continue;
    }
    expect_all_elements(name, array, maker);
    for (const auto& input : array.inputs()) {
      if (count_bytes(input) > most && !reads_in_place(array, maker, input, frame.stream)) {
        refuse_memory(name, input);
      }
      pending.push_back(&input);
    }
  }
}

mx::array bound_indices(const Call& call, const mx::array& indices, int size) {
  if (!mx::issubdtype(indices.dtype(), mx::integer)) {
    call.refuse("expected indices of an integer dtype.");
  }
  if (indices.size() > 0 && size == 0) {
    call.refuse(
        "expected no indices into an axis of size 0, came " + std::to_string(indices.size()) + ".");
  }
  if (!call.on_cpu() || indices.size() == 0) {
    return indices;
  }
  if (indices.dtype() == mx::int64 && is_at_hand(indices)) {
    expect_inside<int64_t>(call, indices, size);
    return indices;
  }
  if (indices.dtype() == mx::int32 && is_at_hand(indices)) {
    expect_inside<int32_t>(call, indices, size);
    return indices;
  }
  const auto s = call.stream();
  // Narrow dtypes may not hold the bounds.
  const auto wide = indices.itemsize() < 4 ? mx::astype(indices, mx::int32, s) : indices;
  const auto last = mx::array(int64_t{size} - 1, wide.dtype());
  const auto bounded = mx::issubdtype(wide.dtype(), mx::unsignedinteger)
      ? mx::minimum(wide, last, s)
      : mx::clip(wide, mx::array(-int64_t{size}, wide.dtype()), last, s);
  call.demand(mx::equal(bounded, wide, s));
  return bounded;
}

mx::array bound_starts(
    const Call& call,
    const mx::array& starts,
    const mx::array& array,
    const std::vector<int>& axes,
    const mx::Shape& sizes) {
  if (!mx::issubdtype(starts.dtype(), mx::integer) || starts.size() != axes.size()) {
    call.refuse("expected " + std::to_string(axes.size()) + " integer starts, one for each axis.");
  }
  std::vector<int> last;
  for (const int axis : axes) {
    const int normal = mx::normalize_axis_index(axis, array.ndim(), "[bounds] ");
    last.push_back(array.shape(normal) - sizes[normal]);
    if (last.back() < 0) {
      call.refuse("expected a slice no larger than the array.");
    }
  }
  if (!call.on_cpu() || axes.empty()) {
    return starts;
  }
  const auto s = call.stream();
  const auto most = mx::array(last.begin(), {static_cast<int>(last.size())}, mx::int32);
  // int64 holds every start: a narrower one could wrap into the array.
  const auto wide = mx::astype(starts, mx::int64, s);
  const auto bounded = mx::astype(
      mx::clip(wide, mx::array(int64_t{0}), mx::astype(most, mx::int64, s), s), mx::int32, s);
  call.demand(mx::equal(bounded, wide, s));
  return starts.ndim() == 0 ? mx::reshape(bounded, {}, s) : bounded;
}

} // namespace mlx_coverage
