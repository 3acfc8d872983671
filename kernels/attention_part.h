// The inner loops of attention, for one ISA: some query rows that share a key/value head against one part of the
// context.
#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/isa.h"

namespace linnet::kernels {

// Tokens of a part. Parts begin at multiples of it, whatever the call computes.
inline constexpr int kPartTokens = 128;

// Row r sees the tokens [first_visible[r], end_visible[r]) of the sequence.
struct AttentionPart {
  const KvBlocks* kv = nullptr;
  int kv_head = 0;
  int64_t begin = 0, end = 0;  // tokens of this part that some row sees, at most kPartTokens; begin's part holds both
  int rows = 0;
  const float* q = nullptr;  // [rows, head_dim], scaled
  const int64_t* first_visible = nullptr;
  const int64_t* end_visible = nullptr;
  float softcap = 0;
  float* scores = nullptr;  // scratch [rows, kPartTokens]
  // Out: the part's softmax numerators' sum and maximum, and the values weighted by the numerators.
  float* max = nullptr;  // [rows]; -infinity: the row sees none of these tokens, and the rest is 0
  float* sum = nullptr;  // [rows]
  float* out = nullptr;  // [rows, head_dim]
};

struct AttentionTable {
  void (*part)(const AttentionPart& part);
  void (*to_f16)(const float* from, int n, uint16_t* to);  // saturates
};
// nullptr for Isa::kScalar: plain loops serve it.
const AttentionTable* AttentionTableFor(Isa isa);

}  // namespace linnet::kernels
