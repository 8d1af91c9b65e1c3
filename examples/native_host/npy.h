// Reading and writing arrays in NumPy's .npy format, version 1.
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <executorch/runtime/core/exec_aten/exec_aten.h>

namespace npy {

using executorch::aten::ScalarType;

struct Array {
  ScalarType dtype = ScalarType::Float;
  std::vector<int32_t> shape;
  std::vector<char> data;
};

struct Descriptor {
  const char* text;
  ScalarType dtype;
  size_t bytes;
};

// NumPy has no bfloat16: its bits travel as 2-byte void.
inline constexpr Descriptor kDescriptors[] = {
    {"|b1", ScalarType::Bool, 1},   {"|u1", ScalarType::Byte, 1},  {"|i1", ScalarType::Char, 1},
    {"<i2", ScalarType::Short, 2},  {"<i4", ScalarType::Int, 4},   {"<i8", ScalarType::Long, 8},
    {"<f2", ScalarType::Half, 2},   {"<f4", ScalarType::Float, 4}, {"<f8", ScalarType::Double, 8},
    {"|V2", ScalarType::BFloat16, 2},
};

inline std::string field(const std::string& header, const std::string& name) {
  const size_t at = header.find("'" + name + "':");
  if (at == std::string::npos) {
    throw std::runtime_error("the .npy header has no " + name);
  }
  return header.substr(at + name.size() + 3);
}

inline Array read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char start[10];
  if (!file.read(start, 10) || std::string(start, 6) != "\x93NUMPY" || start[6] != 1) {
    throw std::runtime_error(path + " is not a .npy file of version 1");
  }
  const auto* size = reinterpret_cast<const unsigned char*>(start + 8);
  std::string header(size[0] + 256 * size[1], '\0');
  file.read(header.data(), header.size());
  if (field(header, "fortran_order").find("True") < 3) {
    throw std::runtime_error(path + " is in Fortran order");
  }
  Array array;
  const Descriptor* found = nullptr;
  for (const auto& descriptor : kDescriptors) {
    if (field(header, "descr").find(descriptor.text) < 4) {
      found = &descriptor;
    }
  }
  if (found == nullptr) {
    throw std::runtime_error(path + " holds a dtype that is not supported");
  }
  array.dtype = found->dtype;
  size_t bytes = found->bytes;
  const std::string shape = field(header, "shape");
  const size_t first = shape.find('(') + 1;
  std::istringstream sizes(shape.substr(first, shape.find(')') - first));
  for (std::string one; std::getline(sizes, one, ',');) {
    if (one.find_first_of("0123456789") != std::string::npos) {
      array.shape.push_back(std::stoi(one));
      bytes *= array.shape.back();
    }
  }
  array.data.resize(bytes);
  if (!file.read(array.data.data(), bytes)) {
    throw std::runtime_error(path + " ends early");
  }
  return array;
}

inline void write(const std::string& path, const executorch::aten::Tensor& tensor) {
  const Descriptor* found = nullptr;
  for (const auto& descriptor : kDescriptors) {
    if (descriptor.dtype == tensor.scalar_type()) {
      found = &descriptor;
    }
  }
  if (found == nullptr) {
    throw std::runtime_error(path + ": an output has a dtype that .npy lacks");
  }
  std::string header = std::string("{'descr': '") + found->text;
  header += "', 'fortran_order': False, 'shape': (";
  for (const auto size : tensor.sizes()) {
    header += std::to_string(size) + ",";
  }
  header += "), }";
  // The data begin at a multiple of 64 bytes.
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";
  const auto size = header.size();
  const char start[] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<char>(size & 255),
                        static_cast<char>(size >> 8)};
  std::ofstream file(path, std::ios::binary);
  file.write(start, 10) << header;
  file.write(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  if (!file) {
    throw std::runtime_error(path + " cannot be written");
  }
}

} // namespace npy
