// Random weights in every format, for tests and benchmarks.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/dtype.h"
#include "kernels/float16.h"
#include "kernels/packed_type.h"
#include "kernels/quant_block.h"

namespace linnet::kernels::testing {

// What is stored, and what it is packed as.
inline constexpr DType kQuantTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                        DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
inline constexpr DType kDenseTypes[] = {DType::kF16, DType::kBF16, DType::kF32};
inline constexpr PackedType kPackedTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                                              DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, kInt8,        kInt4G64};

inline std::vector<float> RandomFloats(int64_t n, std::mt19937& random, float scale = 1.0f) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(random);
  return values;
}

// One weight of a stored f16, bf16 or f32 matrix becomes `value`.
inline void SetWeight(DType type, float value, size_t at, std::vector<uint8_t>& bytes) {
  const auto f32 = std::bit_cast<uint32_t>(value);
  const uint32_t bits = type == DType::kF16 ? F16FromF32(value) : type == DType::kBF16 ? f32 >> 16 : f32;
  const auto size = static_cast<size_t>(BytesFor(type, 1));
  std::memcpy(&bytes[at * size], &bits, size);
}

// The scales of Q4_0 or Q8_0 blocks are made the same where `packed` says so.
inline void ShareScales(PackedType packed, int64_t rows, int64_t cols, std::vector<uint8_t>& bytes) {
  if (packed.shared == SharedScales::kNone) return;
  const int64_t blocks = cols / kGroup, block_bytes = Info(packed.type).block_bytes;
  for (int64_t b = 0; b < rows * blocks; ++b) {
    const int64_t in_row = b % blocks, first = packed.shared == SharedScales::kRow ? 0 : in_row / 2 * 2;
    std::memcpy(&bytes[static_cast<size_t>(b * block_bytes)],
                &bytes[static_cast<size_t>((b - in_row + first) * block_bytes)], 2);
  }
}

// A valid stored matrix of any type: random bits everywhere, scales of sensible size.
inline std::vector<uint8_t> RandomWeights(PackedType packed, int64_t rows, int64_t cols, std::mt19937& random) {
  const DType type = packed.type;
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * BytesFor(type, cols)));
  const auto half = [&](uint8_t* at, float v) {
    const uint16_t h = F16FromF32(v);
    std::memcpy(at, &h, sizeof(h));
  };
  std::uniform_real_distribution<float> scale(-0.02f, 0.02f);
  if (!IsGroupQuantized(type)) {
    const std::vector<float> values = RandomFloats(rows * cols, random, 0.05f);
    for (size_t i = 0; i < values.size(); ++i) SetWeight(type, values[i], i, bytes);
    return bytes;
  }
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  const DTypeInfo& info = Info(type);
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(info.block_bytes)) {
    uint8_t* const block = &bytes[at];
    if (type == DType::kQ6_K) {
      half(block + 208, scale(random) / 64);
      continue;
    }
    const float small = type == DType::kQ4_K || type == DType::kQ5_K ? 1.0f / 32 : 1.0f;
    half(block, scale(random) * small);
    if (Traits(type).has_min) half(block + 2, scale(random) * small);
  }
  ShareScales(packed, rows, cols, bytes);
  return bytes;
}

// Every byte of a stored matrix of a group-quantized type becomes `fill`, but for its blocks' scales.
inline void FillQuants(DType type, uint8_t fill, std::vector<uint8_t>& bytes) {
  const std::vector<uint8_t> scales = bytes;
  std::fill(bytes.begin(), bytes.end(), fill);
  const size_t at = type == DType::kQ6_K ? 208 : 0, size = Traits(type).has_min ? 4 : 2;
  for (size_t block = at; block < bytes.size(); block += static_cast<size_t>(Info(type).block_bytes)) {
    std::copy_n(&scales[block], size, &bytes[block]);
  }
}

}  // namespace linnet::kernels::testing
