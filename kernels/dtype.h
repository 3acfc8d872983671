// Element types of stored tensors, numbered and laid out as GGUF defines them (ggml's `ggml_type`).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace linnet::kernels {

enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct DTypeInfo {
  std::string_view name;  // "Q4_1"
  int block_elements;     // 1 for the plain types
  int block_bytes;
};

// nullopt: a type that Linnet does not read.
std::optional<DType> DTypeFromGguf(uint32_t ggml_type);
const DTypeInfo& Info(DType type);
// REQUIRES: elements is a multiple of block_elements.
inline int64_t BytesFor(DType type, int64_t elements) {
  return elements / Info(type).block_elements * Info(type).block_bytes;
}

// Scalar and exact: what every other path is measured against. `source`: BytesFor(type, elements) bytes.
void Dequantize(DType type, const void* source, int64_t elements, float* out);

}  // namespace linnet::kernels
