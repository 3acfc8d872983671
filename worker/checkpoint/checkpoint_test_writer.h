// Writes small safetensors files, for tests: also such as no library would write.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/float16.h"

namespace linnet::worker {

inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof(size)).append(header).append(data);
}

class SafetensorsTestWriter {
 public:
  // In f32.
  void Add(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    Raw(name, "F32", shape, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }
  // Values that f16 and bf16 have exactly.
  void AddF16(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    Raw(name, "F16", shape, Halves(values, [](float value) { return kernels::F16FromF32(value); }));
  }
  void AddBf16(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    Raw(name, "BF16", shape,
        Halves(values, [](float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }));
  }
  void Raw(const std::string& name, std::string_view type, const std::vector<int64_t>& shape, std::string_view data) {
    const size_t begin = data_.size();
    data_.append(data);
    header_[name] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
  }

  std::string Build() const { return SafetensorsBytes(header_.dump(), data_); }

 private:
  template <class F>
  static std::string Halves(const std::vector<float>& values, F half) {
    std::string bytes;
    for (const float value : values) {
      const uint16_t bits = half(value);
      bytes.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
    }
    return bytes;
  }

  nlohmann::ordered_json header_ = {{"__metadata__", {{"format", "pt"}}}};
  std::string data_;
};

}  // namespace linnet::worker
