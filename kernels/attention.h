// Causal grouped-query attention (Ainslie et al., arXiv 2305.13245) over a paged key/value cache, with an online
// softmax (Milakov and Gimelshein, arXiv 1805.02867): one pass over K and V for all query heads that share a key/value
// head.
//
// The context is split at fixed token boundaries and the parts are merged in a fixed order, so a token's result depends
// neither on the number of threads nor on what else is computed in the same call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/dtype.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

// Keys lie in tiles of so many tokens, so that one vector holds the same dimension of several tokens.
inline constexpr int kKeyTile = 16;

// Where one sequence's keys and values of one layer are. A block holds `block_tokens` consecutive tokens:
//   keys [kv_heads, block_tokens / 16, head_dim, 16], then values [kv_heads, block_tokens, head_dim], in `type`
struct KvBlocks {
  std::span<std::byte* const> blocks;  // this layer's part of each block, in token order
  DType type = DType::kF16;            // kF16 or kF32
  int block_tokens = 0;                // a multiple of kKeyTile
  int kv_heads = 0;
  int head_dim = 0;

  int64_t BytesPerBlock() const {
    return 2 * int64_t{kv_heads} * block_tokens * head_dim * (type == DType::kF32 ? 4 : 2);
  }
};

// Writes keys and values of `tokens` consecutive positions, from `first_position` on, into the blocks.
// k, v: [tokens, kv_heads, head_dim] f32; strides in elements from token to token. f16 saturates at its largest value.
void StoreKv(const KvBlocks& kv, int64_t first_position, int tokens, const float* k, int64_t k_stride, const float* v,
             int64_t v_stride);

// The queries of one sequence in one step: positions first_position ... first_position + tokens - 1. Token t sees the
// positions <= its own (and > its own - window, where window > 0), which must be stored already.
struct AttentionSpan {
  KvBlocks kv;
  const float* q = nullptr;  // [tokens, q_heads, head_dim] f32
  int64_t q_stride = 0;      // elements from token to token
  float* out = nullptr;      // [tokens, q_heads, head_dim] f32
  int64_t out_stride = 0;
  int tokens = 0;
  int64_t first_position = 0;
};
struct AttentionParams {
  int q_heads = 0;         // a multiple of kv_heads
  float scale = 0;         // usually 1/sqrt(head_dim)
  int64_t window = 0;      // 0: everything before
  float softcap = 0;       // 0: none; else cap * tanh(score / cap)
  bool reference = false;  // plain f32 loops
};
void Attention(std::span<const AttentionSpan> spans, const AttentionParams& params, ThreadPool& pool);

}  // namespace linnet::kernels
