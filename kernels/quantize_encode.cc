// Where the bits of a group lie in its block (see quant_block.cc for the other direction).
#include <cstring>

#include "absl/log/log.h"
#include "kernels/quantize.h"

namespace linnet::kernels {
namespace {

void StoreU16(uint16_t value, uint8_t* at) { std::memcpy(at, &value, sizeof(value)); }

// The packed 6-bit scales and mins of Q4_K and Q5_K: [12] bytes for eight groups.
void PackSixBits(int group, uint8_t scale, uint8_t min, uint8_t* packed) {
  const auto put = [&](int at, int bits) { packed[at] = static_cast<uint8_t>(packed[at] | bits); };
  if (group < 4) {
    put(group, scale & 63);
    put(group + 4, min & 63);
  } else {
    put(group + 4, (scale & 0xF) | ((min & 0xF) << 4));
    put(group - 4, (scale >> 4) << 6);
    put(group, (min >> 4) << 6);
  }
}

void PackNibbles(const uint8_t* q, uint8_t* qs) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>((q[i] & 0xF) | ((q[i + 16] & 0xF) << 4));
}

void PackFifthBits(const uint8_t* q, uint8_t* packed) {
  uint32_t bits = 0;
  for (int i = 0; i < kGroup; ++i) bits |= static_cast<uint32_t>((q[i] >> 4) & 1) << i;
  std::memcpy(packed, &bits, sizeof(bits));
}

}  // namespace

void EncodeGroup(DType type, const QuantGroup& in, int64_t group, uint8_t* row) {
  const DTypeInfo& info = Info(type);
  const int groups_per_block = info.block_elements / kGroup;
  uint8_t* block = row + group / groups_per_block * info.block_bytes;
  const int in_block = static_cast<int>(group % groups_per_block);
  switch (type) {
    case DType::kQ4_0:
      StoreU16(in.d, block);
      PackNibbles(in.q, block + 2);
      return;
    case DType::kQ4_1:
      StoreU16(in.d, block);
      StoreU16(in.m, block + 2);
      PackNibbles(in.q, block + 4);
      return;
    case DType::kQ5_0:
      StoreU16(in.d, block);
      PackFifthBits(in.q, block + 2);
      PackNibbles(in.q, block + 6);
      return;
    case DType::kQ5_1:
      StoreU16(in.d, block);
      StoreU16(in.m, block + 2);
      PackFifthBits(in.q, block + 4);
      PackNibbles(in.q, block + 8);
      return;
    case DType::kQ8_0:
      StoreU16(in.d, block);
      for (int i = 0; i < kGroup; ++i) block[2 + i] = in.q[i] ^ 0x80;  // offset 128 to signed
      return;
    case DType::kQ4_K:
    case DType::kQ5_K: {
      const bool five = type == DType::kQ5_K;
      StoreU16(in.d, block);
      StoreU16(in.m, block + 2);
      PackSixBits(in_block, in.sub_scale[0], in.sub_min, block + 4);
      uint8_t* high = block + 16;
      uint8_t* qs = block + (five ? 48 : 16) + in_block / 2 * 32;
      for (int i = 0; i < kGroup; ++i) {
        qs[i] = static_cast<uint8_t>(qs[i] | ((in.q[i] & 0xF) << (in_block % 2 * 4)));
        if (five) high[i] = static_cast<uint8_t>(high[i] | ((in.q[i] >> 4) << in_block));
      }
      return;
    }
    case DType::kQ6_K: {
      const int half = in_block / 4, quarter = in_block % 4;
      uint8_t* ql = block + half * 64 + quarter % 2 * 32;
      uint8_t* qh = block + 128 + half * 32;
      for (int i = 0; i < kGroup; ++i) {
        ql[i] = static_cast<uint8_t>(ql[i] | ((in.q[i] & 0xF) << (quarter < 2 ? 0 : 4)));
        qh[i] = static_cast<uint8_t>(qh[i] | ((in.q[i] >> 4) << (2 * quarter)));
      }
      block[192 + in_block * 2] = in.sub_scale[0];
      block[192 + in_block * 2 + 1] = in.sub_scale[1];
      StoreU16(in.d, block + 208);
      return;
    }
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  LOG(FATAL) << "type " << static_cast<uint32_t>(type) << " has no groups";
}

}  // namespace linnet::kernels
