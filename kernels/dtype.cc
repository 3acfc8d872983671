#include "kernels/dtype.h"

#include <cstring>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "kernels/float16.h"
#include "kernels/quant_block.h"

namespace linnet::kernels {

std::optional<DType> DTypeFromGguf(uint32_t ggml_type) {
  switch (const DType type{ggml_type}; type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ8_0:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
    case DType::kBF16:
      return type;
  }
  return std::nullopt;
}

const DTypeInfo& Info(DType type) {
  static constexpr DTypeInfo kF32{"F32", 1, 4}, kF16{"F16", 1, 2}, kBF16{"BF16", 1, 2}, kQ4_0{"Q4_0", 32, 18},
      kQ4_1{"Q4_1", 32, 20}, kQ5_0{"Q5_0", 32, 22}, kQ5_1{"Q5_1", 32, 24}, kQ8_0{"Q8_0", 32, 34},
      kQ4_K{"Q4_K", 256, 144}, kQ5_K{"Q5_K", 256, 176}, kQ6_K{"Q6_K", 256, 210};
  switch (type) {
    case DType::kF32:
      return kF32;
    case DType::kF16:
      return kF16;
    case DType::kBF16:
      return kBF16;
    case DType::kQ4_0:
      return kQ4_0;
    case DType::kQ4_1:
      return kQ4_1;
    case DType::kQ5_0:
      return kQ5_0;
    case DType::kQ5_1:
      return kQ5_1;
    case DType::kQ8_0:
      return kQ8_0;
    case DType::kQ4_K:
      return kQ4_K;
    case DType::kQ5_K:
      return kQ5_K;
    case DType::kQ6_K:
      return kQ6_K;
  }
  LOG(FATAL) << "no such DType: " << static_cast<uint32_t>(type);
}

void Dequantize(DType type, const void* source, int64_t elements, float* out) {
  const auto* bytes = static_cast<const uint8_t*>(source);
  switch (type) {
    case DType::kF32:
      std::memcpy(out, source, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < elements; ++i) out[i] = LoadF16(bytes + 2 * i);
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < elements; ++i) out[i] = F32FromBf16(LoadU16(bytes + 2 * i));
      return;
    default:
      break;
  }
  CHECK_EQ(elements % Info(type).block_elements, 0);
  QuantGroup group;
  for (int64_t g = 0; g < elements / kGroup; ++g) {
    DecodeGroup(type, bytes, g, group);
    DequantizeGroup(type, group, out + g * kGroup);
  }
}

}  // namespace linnet::kernels
