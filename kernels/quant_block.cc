#include "kernels/quant_block.h"

#include <cstring>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "kernels/float16.h"

namespace linnet::kernels {
namespace {

// The packed 6-bit scales and mins of Q4_K and Q5_K: [12] bytes for eight groups.
void SixBitScale(const uint8_t* packed, int group, uint8_t* scale, uint8_t* min) {
  if (group < 4) {
    *scale = packed[group] & 63;
    *min = packed[group + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((packed[group + 4] & 0xF) | ((packed[group - 4] >> 6) << 4));
    *min = static_cast<uint8_t>((packed[group + 4] >> 4) | ((packed[group] >> 6) << 4));
  }
}

void Nibbles(const uint8_t* qs, uint8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = qs[i] & 0xF;
    q[i + 16] = qs[i] >> 4;
  }
}

void FifthBits(const uint8_t* packed, uint8_t* q) {
  uint32_t bits;
  std::memcpy(&bits, packed, sizeof(bits));
  for (int i = 0; i < kGroup; ++i) q[i] = static_cast<uint8_t>(q[i] | (((bits >> i) & 1) << 4));
}

}  // namespace

bool IsGroupQuantized(DType type) { return type != DType::kF32 && type != DType::kF16 && type != DType::kBF16; }

const QuantTraits& Traits(DType type) {
  static constexpr QuantTraits kQ4_0{4, 8, false, false, 1}, kQ4_1{4, 0, true, false, 1}, kQ5_0{5, 16, false, false, 1},
      kQ5_1{5, 0, true, false, 1}, kQ8_0{8, 128, false, false, 1}, kQ4_K{4, 0, true, true, 1},
      kQ5_K{5, 0, true, true, 1}, kQ6_K{6, 32, false, true, 2};
  switch (type) {
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
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  LOG(FATAL) << "type " << static_cast<uint32_t>(type) << " has no groups";
}

void DecodeGroup(DType type, const uint8_t* row, int64_t group, QuantGroup& out) {
  const DTypeInfo& info = Info(type);
  const int groups_per_block = info.block_elements / kGroup;
  const uint8_t* block = row + group / groups_per_block * info.block_bytes;
  const int in_block = static_cast<int>(group % groups_per_block);
  switch (type) {
    case DType::kQ4_0:
      out.d = LoadU16(block);
      Nibbles(block + 2, out.q);
      return;
    case DType::kQ4_1:
      out.d = LoadU16(block);
      out.m = LoadU16(block + 2);
      Nibbles(block + 4, out.q);
      return;
    case DType::kQ5_0:
      out.d = LoadU16(block);
      Nibbles(block + 6, out.q);
      FifthBits(block + 2, out.q);
      return;
    case DType::kQ5_1:
      out.d = LoadU16(block);
      out.m = LoadU16(block + 2);
      Nibbles(block + 8, out.q);
      FifthBits(block + 4, out.q);
      return;
    case DType::kQ8_0:
      out.d = LoadU16(block);
      for (int i = 0; i < kGroup; ++i) out.q[i] = block[2 + i] ^ 0x80;  // signed to offset 128
      return;
    case DType::kQ4_K:
    case DType::kQ5_K: {
      const bool five = type == DType::kQ5_K;
      out.d = LoadU16(block);
      out.m = LoadU16(block + 2);
      SixBitScale(block + 4, in_block, &out.sub_scale[0], &out.sub_min);
      const uint8_t* high = block + 16;
      const uint8_t* qs = block + (five ? 48 : 16) + in_block / 2 * 32;
      for (int i = 0; i < kGroup; ++i) {
        out.q[i] = in_block % 2 ? qs[i] >> 4 : qs[i] & 0xF;
        if (five) out.q[i] = static_cast<uint8_t>(out.q[i] | (((high[i] >> in_block) & 1) << 4));
      }
      return;
    }
    case DType::kQ6_K: {
      const int half = in_block / 4, quarter = in_block % 4;
      const uint8_t* ql = block + half * 64 + quarter % 2 * 32;
      const uint8_t* qh = block + 128 + half * 32;
      for (int i = 0; i < kGroup; ++i) {
        const int low = quarter < 2 ? ql[i] & 0xF : ql[i] >> 4;
        out.q[i] = static_cast<uint8_t>(low | (((qh[i] >> (2 * quarter)) & 3) << 4));
      }
      out.sub_scale[0] = block[192 + in_block * 2];
      out.sub_scale[1] = block[192 + in_block * 2 + 1];
      out.d = LoadU16(block + 208);
      return;
    }
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  LOG(FATAL) << "type " << static_cast<uint32_t>(type) << " has no groups";
}

void DequantizeGroup(DType type, const QuantGroup& group, float* out) {
  const QuantTraits& traits = Traits(type);
  const float d = F32FromF16(group.d), m = F32FromF16(group.m);
  for (int i = 0; i < kGroup; ++i) {
    const float q = static_cast<float>(group.q[i] - traits.offset);
    if (!traits.super) {
      out[i] = traits.has_min ? q * d + m : q * d;
    } else if (traits.has_min) {
      out[i] = d * static_cast<float>(group.sub_scale[0]) * q - m * static_cast<float>(group.sub_min);
    } else {
      out[i] = d * static_cast<float>(static_cast<int8_t>(group.sub_scale[i / 16])) * q;
    }
  }
}

}  // namespace linnet::kernels
