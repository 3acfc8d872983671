// Causal grouped-query attention (Ainslie et al., arXiv 2305.13245) over a paged key/value cache, with an online
// softmax (Milakov and Gimelshein, arXiv 1805.02867): one pass over K and V for all query heads that share a key/value
// head.
//
// The context is split at fixed token boundaries and the parts are merged in a fixed order, so a token's result depends
// neither on the number of threads nor on what else is computed in the same call. Over a Q8_0 cache queries become
// 8-bit integers as well, with a scale for each row and 32 dimensions.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kv_blocks.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

// The queries of one sequence in one step: positions first_position ... first_position + tokens - 1. Token t sees the
// positions <= its own (and > its own - window, where window > 0), which must be stored already.
struct AttentionSpan {
  KvBlocks kv;
  const float* q = nullptr;  // [tokens, q_heads, head_dim] f32
  int64_t q_stride = 0;      // elements from token to token
  float* out = nullptr;      // [tokens, q_heads, value_dim] f32
  int64_t out_stride = 0;
  int tokens = 0;
  int64_t first_position = 0;
};
struct AttentionParams {
  int q_heads = 0;     // a multiple of kv_heads
  float scale = 0;     // usually 1/sqrt(head_dim)
  int64_t window = 0;  // 0: everything before
  float softcap = 0;   // 0: none; else cap * tanh(score / cap)
  // [q_heads]: what is added to a score for each token of distance, times -1 (ALiBi: Press et al., arXiv 2108.12409);
  // null: nothing. Not together with a soft cap.
  const float* slopes = nullptr;
  bool reference = false;  // plain f32 loops
};
void Attention(std::span<const AttentionSpan> spans, const AttentionParams& params, ThreadPool& pool);

}  // namespace linnet::kernels
