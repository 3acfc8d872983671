// The inner loops of attention, for one ISA: some query rows that share a key/value head against one part of the
// context.
#pragma once

#include <cstdint>

#include "kernels/activations.h"
#include "kernels/attention.h"
#include "kernels/isa.h"
#include "kernels/quant_matmul.h"

namespace linnet::kernels {

// Tokens of a part. Parts begin at multiples of it, whatever the call computes.
inline constexpr int kPartTokens = 128;
inline constexpr float kLog2E = 1.44269504088896340736f;

// Row r sees the tokens [first_visible[r], end_visible[r]) of the sequence.
struct AttentionPart {
  const KvBlocks* kv = nullptr;
  int kv_head = 0;
  int64_t begin = 0, end = 0;  // tokens of this part that some row sees, at most kPartTokens; begin's part holds both
  int64_t next_end = 0;        // the end of the tokens that the caller goes on with, for prefetching
  int rows = 0;
  const float* q = nullptr;  // [rows, head_dim], scaled; without a soft cap by log2(e) too
  // Over Q8_0: the same as integers, what a block's keys of a head are as packed weights, and their product.
  ActivationBlocks q8;
  const QuantLayout* key_layout = nullptr;
  QuantMatmulFn multiply_keys = nullptr;
  const int64_t* first_visible = nullptr;
  const int64_t* end_visible = nullptr;
  float softcap = 0;
  const float* slopes = nullptr;  // [rows], times log2(e): a score gets slope * (token - own position); null: nothing
  float* scores = nullptr;        // scratch [rows, kPartTokens]
  float* wide = nullptr;          // scratch [kPartTokens, head_dim], head_dim being at least value_dim
  // Out: maximum of the scores times log2(e), sum of the softmax numerators 2^(that - max), values weighted by them.
  float* max = nullptr;  // [rows]; -infinity: the row sees none of these tokens, and the rest is 0
  float* sum = nullptr;  // [rows]
  float* out = nullptr;  // [rows, value_dim]
};

struct AttentionTable {
  void (*part)(const AttentionPart& part);
  void (*scale)(const float* x, float factor, int n, float* y);               // y = x * factor
  void (*scale_add)(float* y, float keep, const float* x, float add, int n);  // y = y * keep + x * add
  void (*to_f16)(const float* from, int n, uint16_t* to);                     // saturates
};
// nullptr for Isa::kScalar: plain loops serve it.
const AttentionTable* AttentionTableFor(Isa isa);

}  // namespace linnet::kernels
