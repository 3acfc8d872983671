// Writes small GGUF files in memory, for tests: also such as no converter would write.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace linnet::worker {

class GgufTestWriter {
 public:
  void String(std::string_view key, std::string_view value) {
    Key(key, 8);
    Text(value, metadata_);
  }
  void U32(std::string_view key, uint32_t value) { Number(key, 4, value); }
  void I32(std::string_view key, int32_t value) { Number(key, 5, value); }
  void U64(std::string_view key, uint64_t value) { Number(key, 10, value); }
  void F32(std::string_view key, float value) { Number(key, 6, value); }
  void Bool(std::string_view key, uint8_t value) { Number(key, 7, value); }
  void Strings(std::string_view key, const std::vector<std::string>& values) {
    Array(key, 8, values.size());
    for (const std::string& value : values) Text(value, metadata_);
  }
  template <typename T>
  void Numbers(std::string_view key, uint32_t type, const std::vector<T>& values) {
    Array(key, type, values.size());
    for (T value : values) Append(value, metadata_);
  }
  void I32s(std::string_view key, const std::vector<int32_t>& values) { Numbers(key, 5, values); }
  void F32s(std::string_view key, const std::vector<float>& values) { Numbers(key, 6, values); }
  // Anything else: `bytes` behind key and type.
  void Raw(std::string_view key, uint32_t type, std::string_view bytes) {
    Key(key, type);
    metadata_.append(bytes);
  }
  void Tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    ++tensor_count;
    Text(name, tensors_);
    Append(static_cast<uint32_t>(dims.size()), tensors_);
    for (uint64_t dim : dims) Append(dim, tensors_);
    Append(type, tensors_);
    Append(offset, tensors_);
  }

  // `data` begins at the next multiple of 32.
  std::string Build(std::string_view data = {}) const {
    std::string out("GGUF");
    Append(version, out);
    Append(tensor_count, out);
    Append(entry_count, out);
    out.append(metadata_).append(tensors_);
    if (!data.empty()) {
      out.resize((out.size() + 31) / 32 * 32);
      out.append(data);
    }
    return out;
  }

  uint32_t version = 3;
  uint64_t tensor_count = 0;
  uint64_t entry_count = 0;

 private:
  template <typename T>
  static void Append(T value, std::string& out) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static void Text(std::string_view text, std::string& out) {
    Append<uint64_t>(text.size(), out);
    out.append(text);
  }
  void Key(std::string_view key, uint32_t type) {
    ++entry_count;
    Text(key, metadata_);
    Append(type, metadata_);
  }
  template <typename T>
  void Number(std::string_view key, uint32_t type, T value) {
    Key(key, type);
    Append(value, metadata_);
  }
  void Array(std::string_view key, uint32_t element_type, uint64_t count) {
    Key(key, 9);
    Append(element_type, metadata_);
    Append(count, metadata_);
  }

  std::string metadata_, tensors_;
};

inline std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

}  // namespace linnet::worker
