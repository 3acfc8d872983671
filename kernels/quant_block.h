// The group-quantized formats of GGUF, taken apart: every format is groups of 32 weights, each an unsigned integer q
// with
//   weight = scale * (q - offset) + min
// where scale and min are 16-bit floats of the group, or, in the K formats, a float of a super-block of 256 times a
// small integer of the group (Q6_K: of 16 weights).
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace linnet::kernels {

inline constexpr int kGroup = 32;

// One group of one row.
struct QuantGroup {
  uint8_t q[kGroup];
  uint16_t d = 0;             // f16: scale, or the super-block's scale
  uint16_t m = 0;             // f16: min, or the super-block's min (which is subtracted)
  uint8_t sub_scale[2] = {};  // K formats; Q6_K has two signed ones, the others one
  uint8_t sub_min = 0;
};

struct QuantTraits {
  int bits = 0;    // per weight: 4, 5, 6 or 8
  int offset = 0;  // subtracted from q
  bool has_min = false;
  bool super = false;  // scales are those of a super-block times an integer
  int scales_per_group = 1;
};

// REQUIRES: IsGroupQuantized(type).
const QuantTraits& Traits(DType type);
bool IsGroupQuantized(DType type);

// Group `group` of the row that starts at `row`.
void DecodeGroup(DType type, const uint8_t* row, int64_t group, QuantGroup& out);
// out: [32] f32, exactly as ggml's scalar code computes it.
void DequantizeGroup(DType type, const QuantGroup& group, float* out);

}  // namespace linnet::kernels
