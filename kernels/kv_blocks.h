// How keys and values lie in the blocks of the paged cache, and how they get there.
//
// A block holds `block_tokens` consecutive tokens of one layer: the keys of each key/value head, then the values of
// each. Keys lie in tiles of 16 tokens, so that one vector holds the same dimension of several tokens:
//
//   F16, F32   keys [kv_heads, block_tokens / 16, head_dim, 16], values [kv_heads, block_tokens, value_dim]
//   Q8_0       8-bit integers with an f16 scale for each token, head and 32 dimensions (the last group padded with
//              zeros). A tile of keys is a tile of packed Q8_0 weights (quant_pack.h) with tokens for output rows, so
//              that scores are quantized products; the values of a head are integers [block_tokens, groups * 32], then
//              scales [block_tokens, groups].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/dtype.h"
#include "kernels/quant_pack.h"

namespace linnet::kernels {

// Tokens of a tile of keys.
inline constexpr int kKeyTile = kTileRows;

// Where one sequence's keys and values of one layer are.
struct KvBlocks {
  std::span<std::byte* const> blocks;  // this layer's part of each block, in token order
  DType type = DType::kF16;            // kF16, kF32 or kQ8_0
  int block_tokens = 0;                // a multiple of kKeyTile
  int kv_heads = 0;
  int head_dim = 0;   // of keys
  int value_dim = 0;  // of values, at most head_dim

  // Of Q8_0: groups of 32 dimensions in a head.
  int64_t groups() const { return (head_dim + kGroup - 1) / kGroup; }
  int64_t value_groups() const { return (value_dim + kGroup - 1) / kGroup; }
  int64_t ElementBytes() const { return type == DType::kF32 ? 4 : 2; }  // of the other two
  int64_t KeyTileBytes() const;
  int64_t HeadKeyBytes() const { return block_tokens / kKeyTile * KeyTileBytes(); }
  int64_t HeadValueBytes() const;
  int64_t BytesPerBlock() const { return kv_heads * (HeadKeyBytes() + HeadValueBytes()); }

  std::byte* Block(int64_t token) const { return blocks[static_cast<size_t>(token / block_tokens)]; }
  // The tile that has the token's key, and the head's values in the token's block.
  std::byte* KeyTile(int head, int64_t token) const {
    return Block(token) + head * HeadKeyBytes() + token % block_tokens / kKeyTile * KeyTileBytes();
  }
  std::byte* HeadValues(int head, int64_t token) const {
    return Block(token) + kv_heads * HeadKeyBytes() + head * HeadValueBytes();
  }
};

// Writes keys and values of `tokens` consecutive positions, from `first_position` on, into the blocks.
// k: [tokens, kv_heads, head_dim], v: [tokens, kv_heads, value_dim] f32; strides in elements from token to token. f16
// saturates at its largest value.
void StoreKv(const KvBlocks& kv, int64_t first_position, int tokens, const float* k, int64_t k_stride, const float* v,
             int64_t v_stride);

// What was stored, as f32, one at a time.
float LoadKey(const KvBlocks& kv, int head, int64_t token, int d);
float LoadValue(const KvBlocks& kv, int head, int64_t token, int d);

}  // namespace linnet::kernels
