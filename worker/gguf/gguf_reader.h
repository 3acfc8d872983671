// Reads little-endian fields one after another out of the bytes of a file, none of them trusted. Internal to
// worker/gguf.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::worker {

static_assert(std::endian::native == std::endian::little, "GGUF fields are read as they lie in memory");

// Not thread-safe. The bytes must outlive it and what it returns.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  const std::string& file() const { return file_; }

  // What is being read stands in messages: "metadata entry 3", "tensor blk.0.attn_q.weight".
  void set_object(std::string object) { object_ = std::move(object); }

  template <typename T>
  absl::StatusOr<T> Read(std::string_view field) {
    if (sizeof(T) > remaining()) return Short(field, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }
  // count · sizeof(T) bytes that the caller copies out; checked against what is left before anything is allocated.
  absl::StatusOr<const std::byte*> Take(std::string_view field, uint64_t count, uint64_t element_bytes);
  // A length of 64 bits, then as many bytes.
  absl::StatusOr<std::string_view> String(std::string_view field,
                                          uint64_t max_bytes = std::numeric_limits<uint64_t>::max());

  // INVALID_ARGUMENT INVALID_MODEL_FILE, with file, byte offset and object before `what`.
  absl::Status Error(std::string_view what) const;

 private:
  absl::Status Short(std::string_view field, uint64_t wanted_bytes) const;

  const std::span<const std::byte> bytes_;
  const std::string file_;
  std::string object_ = "header";
  uint64_t position_ = 0;
};

// For messages: bytes from a file, escaped and cut to a length that fits a line.
std::string Printable(std::string_view text);

}  // namespace linnet::worker
