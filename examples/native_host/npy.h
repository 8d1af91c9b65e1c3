// Reading and writing arrays in NumPy's .npy format, version 1.
#pragma once

#include <algorithm>
#include <fstream>
#include <regex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <executorch/extension/tensor/tensor.h>

namespace npy {

using executorch::aten::ScalarType;

// NumPy has no bfloat16: its bits travel as 2-byte void.
inline const std::vector<std::pair<std::string, ScalarType>> kDtypes = {
    {"|b1", ScalarType::Bool},     {"|u1", ScalarType::Byte},  {"|i1", ScalarType::Char},
    {"<i2", ScalarType::Short},    {"<i4", ScalarType::Int},   {"<i8", ScalarType::Long},
    {"<f2", ScalarType::Half},     {"<f4", ScalarType::Float}, {"<f8", ScalarType::Double},
    {"|V2", ScalarType::BFloat16},
};
inline const std::string kMagic("\x93NUMPY\x01\x00", 8);

inline executorch::extension::TensorPtr read(const std::string& path) {
  static const std::regex kHeader(
      R"(\{'descr': '(.*)', 'fortran_order': False, 'shape': \((.*)\), \}\s*)");
  static const std::regex kNumber("[0-9]+");
  std::ifstream file(path, std::ios::binary);
  unsigned char start[10] = {};
  file.read(reinterpret_cast<char*>(start), 10);
  std::string header(start[8] + 256 * start[9], '\0');
  file.read(header.data(), header.size());
  std::smatch fields;
  if (!std::equal(kMagic.begin(), kMagic.end(), reinterpret_cast<char*>(start)) ||
      !std::regex_match(header, fields, kHeader)) {
    throw std::runtime_error(path + " is no .npy file of version 1 in C order");
  }
  const auto dtype = std::find_if(
      kDtypes.begin(), kDtypes.end(), [&](const auto& known) { return known.first == fields[1]; });
  if (dtype == kDtypes.end()) {
    throw std::runtime_error(path + " holds a dtype that is not supported");
  }
  std::vector<int32_t> sizes;
  size_t bytes = executorch::runtime::elementSize(dtype->second);
  const std::string shape = fields[2];
  for (std::sregex_iterator size(shape.begin(), shape.end(), kNumber), end; size != end; ++size) {
    sizes.push_back(std::stoi(size->str()));
    bytes *= sizes.back();
  }
  std::vector<uint8_t> data(bytes);
  if (!file.read(reinterpret_cast<char*>(data.data()), bytes)) {
    throw std::runtime_error(path + " ends early");
  }
  return executorch::extension::make_tensor_ptr(sizes, std::move(data), dtype->second);
}

inline void write(const std::string& path, const executorch::aten::Tensor& tensor) {
  const auto dtype = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& known) {
    return known.second == tensor.scalar_type();
  });
  if (dtype == kDtypes.end()) {
    throw std::runtime_error(path + ": an output has a dtype that .npy lacks");
  }
  std::string header = "{'descr': '" + dtype->first + "', 'fortran_order': False, 'shape': (";
  for (const auto size : tensor.sizes()) {
    header += std::to_string(size) + ",";
  }
  header += "), }";
  header.append(63 - (10 + header.size()) % 64, ' ') += "\n"; // data begin at a multiple of 64
  std::ofstream file(path, std::ios::binary);
  file << kMagic << static_cast<char>(header.size() & 255) << static_cast<char>(header.size() >> 8);
  file << header;
  if (!file.write(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes())) {
    throw std::runtime_error(path + " cannot be written");
  }
}

} // namespace npy
