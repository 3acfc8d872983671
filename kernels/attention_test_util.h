// What the tests of attention share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/attention.h"
#include "kernels/kernel_test_data.h"
#include "kernels/kv_blocks.h"

namespace linnet::kernels::testing {

// One sequence with its cache filled by StoreKv in uneven pieces. Memory that was never written holds NaNs.
struct Sequence {
  Sequence(DType type, int kv_heads, int q_heads, int head_dim, int64_t length, uint32_t seed, int block_tokens = 32,
           int values = 0)
      : kv_heads(kv_heads),
        q_heads(q_heads),
        head_dim(head_dim),
        value_dim(values > 0 ? values : head_dim),
        length(length) {
    std::mt19937 random(seed);
    kv = {
        .type = type, .block_tokens = block_tokens, .kv_heads = kv_heads, .head_dim = head_dim, .value_dim = value_dim};
    const int64_t blocks = (length + block_tokens - 1) / block_tokens;
    memory.assign(static_cast<size_t>(blocks * kv.BytesPerBlock()), std::byte{0xFF});
    for (int64_t b = 0; b < blocks; ++b) pointers.push_back(memory.data() + b * kv.BytesPerBlock());
    kv.blocks = pointers;
    const int64_t row = int64_t{kv_heads} * head_dim, v_row = int64_t{kv_heads} * value_dim;
    k = RandomFloats(length * row, random);
    v = RandomFloats(length * v_row, random);
    q = RandomFloats(length * q_heads * head_dim, random, 2.0f);
    for (int64_t at = 0; at < length;) {
      const int n = static_cast<int>(std::min<int64_t>(length - at, 1 + random() % 70));
      StoreKv(kv, at, n, k.data() + at * row, row, v.data() + at * v_row, v_row);
      at += n;
    }
  }

  AttentionSpan Span(int64_t first, int tokens, std::vector<float>& out) const {
    const int64_t row = int64_t{q_heads} * head_dim, out_row = int64_t{q_heads} * value_dim;
    out.assign(static_cast<size_t>(tokens * out_row), NAN);
    return {.kv = kv,
            .q = q.data() + first * row,
            .q_stride = row,
            .out = out.data(),
            .out_stride = out_row,
            .tokens = tokens,
            .first_position = first};
  }
  std::vector<float> Run(int64_t first, int tokens, const AttentionParams& params, ThreadPool& pool) const {
    std::vector<float> out;
    const AttentionSpan span = Span(first, tokens, out);
    Attention({&span, 1}, params, pool);
    return out;
  }

  int kv_heads, q_heads, head_dim, value_dim;
  int64_t length;
  KvBlocks kv;
  std::vector<std::byte> memory;
  std::vector<std::byte*> pointers;
  std::vector<float> k, v, q;
};

}  // namespace linnet::kernels::testing
