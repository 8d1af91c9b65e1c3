#include "tensors.h"

#include <cstring>

#include <executorch/runtime/core/exec_aten/util/tensor_util.h>

#include "failure.h"
#include "process.h"

namespace mlx_coverage {

namespace {

// A CPU buffer is a size followed by the data; MLX reads the data only. Probed with a buffer of
// MLX's own, so that another layout means copies and not corruption.
bool can_wrap_on_cpu() {
  static const bool can = [] {
    if (mx::is_available(mx::Device(mx::Device::gpu))) {
      return false;
    }
    const auto probe = mx::allocator::malloc(64);
    auto buffer = probe.buffer();
    return static_cast<char*>(buffer.raw_ptr()) ==
        static_cast<char*>(buffer.ptr()) + sizeof(size_t);
  }();
  return can;
}

mx::Shape to_shape(const Tensor& tensor) {
  return mx::Shape(tensor.sizes().begin(), tensor.sizes().end());
}

size_t count_elements(const mx::Shape& shape) {
  size_t count = 1;
  for (const auto size : shape) {
    count *= static_cast<size_t>(size);
  }
  return count;
}

// Dimensions from the outermost in memory to the innermost; empty when that is 0, 1, 2, ...
std::vector<int> find_permutation(const Tensor& tensor) {
  const auto order = tensor.dim_order();
  std::vector<int> permutation(order.begin(), order.end());
  for (size_t i = 0; i < permutation.size(); ++i) {
    if (permutation[i] != static_cast<int>(i)) {
      return permutation;
    }
  }
  return {};
}

template <typename T>
mx::array make_typed(const std::vector<Number>& numbers, mx::Shape shape, mx::Dtype dtype) {
  std::vector<T> values;
  values.reserve(numbers.size());
  for (const auto& number : numbers) {
    values.push_back(number.is_real ? static_cast<T>(number.real) : static_cast<T>(number.integer));
  }
  return mx::array(values.begin(), std::move(shape), dtype);
}

bool is_whole(double value) {
  return value >= -9223372036854775808.0 && value < 9223372036854775808.0;
}

} // namespace

mx::Dtype to_mlx_dtype(uint8_t scalar_type) {
  switch (scalar_type) {
    case 0:
      return mx::uint8;
    case 1:
      return mx::int8;
    case 2:
      return mx::int16;
    case 3:
      return mx::int32;
    case 4:
      return mx::int64;
    case 5:
      return mx::float16;
    case 6:
      return mx::float32;
    case 7:
      return mx::float64;
    case 9:
      return mx::complex64;
    case 11:
      return mx::bool_;
    case 15:
      return mx::bfloat16;
    case 27:
      return mx::uint16;
    case 28:
      return mx::uint32;
    case 29:
      return mx::uint64;
    default:
      fail(Error::InvalidProgram, "[dtype] ", int(scalar_type), " is not known.");
  }
}

mx::array make_array(const std::vector<Number>& numbers, mx::Shape shape, mx::Dtype dtype) {
  if (dtype == mx::bool_) {
    std::vector<bool> values;
    for (const auto& number : numbers) {
      values.push_back(number.as_real() != 0);
    }
    return mx::array(values.begin(), std::move(shape), dtype);
  }
  if (mx::issubdtype(dtype, mx::integer)) {
    for (const auto& number : numbers) {
      if (number.is_real && !is_whole(number.real)) {
        fail(Error::InvalidProgram, "[array] ", number.real, " does not fit in an integer.");
      }
    }
    return make_typed<int64_t>(numbers, std::move(shape), dtype);
  }
  if (dtype == mx::float64) {
    return make_typed<double>(numbers, std::move(shape), dtype);
  }
  return make_typed<float>(numbers, std::move(shape), dtype);
}

mx::array make_scalar(const Scalar& scalar) {
  const Number number = scalar.is_real ? Number::of(scalar.real) : Number::of(scalar.integer);
  return make_array({number}, {}, to_mlx_dtype(scalar.dtype));
}

mx::array wrap_memory(const void* data, mx::Shape shape, mx::Dtype dtype) {
  Process& process = Process::get();
  if (count_elements(shape) == 0) {
    return own_memory(nullptr, std::move(shape), dtype);
  }
  const bool is_aligned = reinterpret_cast<uintptr_t>(data) % dtype.size() == 0;
  if (!process.zero_copies() || !is_aligned) {
    ++process.counters.copied_inputs;
    return own_memory(data, std::move(shape), dtype);
  }
  char* start = static_cast<char*>(const_cast<void*>(data));
  if (can_wrap_on_cpu()) {
    // SAFETY: a buffer with a deleter of its own is never written, resized or given back by MLX,
    // so neither the size in front of it nor its const data are touched.
    mx::allocator::Buffer buffer(start - sizeof(size_t));
    ++process.counters.zero_copied_inputs;
    return mx::array(
        mx::allocator::Data(buffer, [](mx::allocator::Buffer) {}), std::move(shape), dtype);
  }
  // Metal wraps memory that is aligned to pages; everything else is copied by this constructor.
  const mx::array wrapped(start, std::move(shape), dtype, [](void*) {});
  ++(owns_memory(wrapped) ? process.counters.copied_inputs : process.counters.zero_copied_inputs);
  return wrapped;
}

mx::array own_memory(const void* data, mx::Shape shape, mx::Dtype dtype) {
  const size_t bytes = count_elements(shape) * dtype.size();
  if (bytes > Process::get().max_array_bytes()) {
    fail(
        Error::MemoryAllocationFailed, "[memory] an array of ", bytes,
        " bytes is larger than max_array_bytes.");
  }
  auto memory = mx::allocator::malloc(std::max<size_t>(bytes, 1));
  auto buffer = memory.buffer();
  if (buffer.ptr() == nullptr) {
    fail(Error::MemoryAllocationFailed, "[memory] ", bytes, " bytes could not be allocated.");
  }
  if (data == nullptr) {
    std::memset(buffer.raw_ptr(), 0, bytes);
  } else {
    std::memcpy(buffer.raw_ptr(), data, bytes);
  }
  return mx::array(std::move(memory), std::move(shape), dtype);
}

bool owns_memory(const mx::array& array) {
  const auto& data = array.data_shared_ptr();
  return data != nullptr && data->is_owned();
}

mx::array read_tensor(const Tensor& tensor, const TensorType& type, size_t index, mx::Stream s) {
  const auto came = static_cast<int>(tensor.scalar_type());
  if (came != type.dtype) {
    fail(
        Error::InvalidArgument, "[input ", index, "] expected ", to_mlx_dtype(type.dtype),
        ", came scalar type ", came, ".");
  }
  if (tensor.dim() != static_cast<ssize_t>(type.dims.size())) {
    fail(
        Error::InvalidArgument, "[input ", index, "] expected ", type.dims.size(),
        " dimensions, came ", tensor.dim(), ".");
  }
  for (size_t i = 0; i < type.dims.size(); ++i) {
    if (type.dims[i] >= 0 && tensor.size(i) != type.dims[i]) {
      fail(
          Error::InvalidArgument, "[input ", index, "] expected size ", type.dims[i],
          " in dimension ", i, ", came ", tensor.size(i), ".");
    }
  }
  const mx::Dtype dtype = to_mlx_dtype(type.dtype);
  const mx::Shape shape = to_shape(tensor);
  const void* data = tensor.const_data_ptr();
  if (data == nullptr && tensor.numel() != 0) {
    fail(Error::InvalidArgument, "[input ", index, "] expected data, came a tensor without.");
  }
  const std::vector<int> permutation = find_permutation(tensor);
  if (permutation.empty()) {
    return wrap_memory(data, shape, dtype);
  }
  mx::Shape physical;
  std::vector<int> inverse(permutation.size());
  for (size_t i = 0; i < permutation.size(); ++i) {
    physical.push_back(shape[permutation[i]]);
    inverse[permutation[i]] = static_cast<int>(i);
  }
  return mx::transpose(wrap_memory(data, physical, dtype), inverse, s);
}

mx::array prepare_output(Tensor& tensor, const mx::array& array, size_t index, mx::Stream s) {
  if (tensor.dim() != static_cast<ssize_t>(array.ndim())) {
    fail(
        Error::InvalidProgram, "[output ", index, "] expected ", tensor.dim(), " dimensions, came ",
        array.ndim(), ".");
  }
  if (to_mlx_dtype(static_cast<uint8_t>(tensor.scalar_type())) != array.dtype()) {
    fail(
        Error::InvalidProgram, "[output ", index, "] expected scalar type ",
        static_cast<int>(tensor.scalar_type()), ", came ", array.dtype(), ".");
  }
  const std::vector<executorch::aten::SizesType> sizes(array.shape().begin(), array.shape().end());
  const Error error = executorch::runtime::resize_tensor(tensor, {sizes.data(), sizes.size()});
  if (error != Error::Ok) {
    fail(error, "[output ", index, "] the tensor cannot be resized to ", array.shape(), ".");
  }
  if (tensor.nbytes() != array.nbytes()) {
    fail(
        Error::Internal, "[output ", index, "] expected ", tensor.nbytes(), " bytes, came ",
        array.nbytes(), ".");
  }
  const std::vector<int> permutation = find_permutation(tensor);
  const auto arranged = permutation.empty() ? array : mx::transpose(array, permutation, s);
  return mx::contiguous(arranged, /* allow_col_major= */ false, s);
}

void write_output(Tensor& tensor, const mx::array& prepared) {
  if (prepared.nbytes() != 0) {
    std::memcpy(tensor.mutable_data_ptr(), prepared.data<char>(), prepared.nbytes());
  }
}

} // namespace mlx_coverage
