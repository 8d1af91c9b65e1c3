// ExecuTorch tensors and MLX arrays: dtypes, wrapping inputs, writing outputs.
#pragma once

#include <functional>
#include <vector>

#include <executorch/runtime/core/exec_aten/exec_aten.h>
#include <mlx/mlx.h>

#include "arguments.h"
#include "program.h"

namespace mlx_coverage {

namespace mx = mlx::core;
using executorch::aten::Tensor;

// Of a c10::ScalarType number; throws on one that the payload format lacks.
mx::Dtype to_mlx_dtype(uint8_t scalar_type);

// An array of numbers in row-major order.
mx::array make_array(const std::vector<Number>& numbers, mx::Shape shape, mx::Dtype dtype);
mx::array make_scalar(const Scalar& scalar);

// An array over the caller's memory: without a copy where the device can, else copied. The memory
// must stay as it is until the last evaluation that uses the array has ended.
mx::array wrap_memory(const void* data, mx::Shape shape, mx::Dtype dtype);

// An array with memory of its own: a copy of `data`, or zeros without data.
mx::array own_memory(const void* data, mx::Shape shape, mx::Dtype dtype);

// Whether MLX allocated the array's memory.
bool owns_memory(const mx::array& array);

// Checks dtype and shape against the program's, then wraps the tensor in logical dimension order.
mx::array read_tensor(const Tensor& tensor, const TensorType& type, size_t index, mx::Stream s);

// Resizes the tensor and gives the array whose row-major elements its memory is to hold: the dim
// order of the tensor applied. All that can be refused is refused here, before evaluation.
mx::array prepare_output(Tensor& tensor, const mx::array& array, size_t index, mx::Stream s);

// Copies the evaluated, prepared array.
void write_output(Tensor& tensor, const mx::array& prepared);

} // namespace mlx_coverage
