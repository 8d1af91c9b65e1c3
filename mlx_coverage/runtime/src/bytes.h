// Reading numbers and text from untrusted bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "failure.h"

namespace mlx_coverage {

// CRC-32 as zlib computes it.
uint32_t compute_crc(const uint8_t* data, size_t size);

// Bounds-checked little-endian reads. The hosts that MLX supports are all little endian.
class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  size_t remaining() const {
    return size_ - at_;
  }

  template <typename T>
  T read() {
    need(sizeof(T));
    T value;
    std::memcpy(&value, data_ + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  std::string read_text() {
    const uint32_t length = read<uint32_t>();
    need(length);
    std::string text(reinterpret_cast<const char*>(data_ + at_), length);
    at_ += length;
    return text;
  }

  // A count is believed only when that many items, at their smallest, can still follow.
  uint32_t read_count(const char* what, size_t item_bytes) {
    const uint32_t count = read<uint32_t>();
    if (count > remaining() / item_bytes) {
      fail(
          Error::InvalidProgram, "[payload] ", what, ": ", count, " do not fit in ", remaining(),
          " bytes.");
    }
    return count;
  }

 private:
  void need(size_t bytes) const {
    if (bytes > remaining()) {
      fail(
          Error::InvalidProgram, "[payload] truncated: expected ", bytes, " more bytes, came ",
          remaining(), ".");
    }
  }

  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

} // namespace mlx_coverage
