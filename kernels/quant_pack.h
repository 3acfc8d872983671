// The layout in which the SIMD kernels read group-quantized weights: as many bytes as stored, interleaved so that one
// vector holds four consecutive weights of each of several output rows, which is what u8 x s8 dot-product instructions
// take. The same for every ISA; narrower vectors take a part of a tile.
//
// A tile is 16 output rows (the last one padded with rows of zeros). In it, one after the other:
//   quants      [groups] x quant_bytes. With a quad being 16 rows x 4 consecutive k (64 bytes, row by row):
//                 8 bits: the eight quads of the group
//                 else:   four times 64 bytes, low nibbles quad j, high nibbles quad j + 4; then the high bits:
//                         5 bits: 64 bytes, bit j belongs to quad j
//                         6 bits: twice 64 bytes, of which the h-th has in bits 2f, 2f + 1 those of quad 4h + f
//   scales      [groups or super-blocks][16] f16
//   mins        the same, where the format has mins
//   sub-scales  [groups * scales_per_group][16] bytes, and sub-mins [groups][16] bytes, in the K formats
// Where groups share scales (packed_type.h), two groups together are a chunk of 64 inputs; a last group without a
// partner is followed by one of zeros, and each scale is there once: [chunks or 1][16] f16.
#pragma once

#include <cstdint>

#include "kernels/packed_tiles.h"
#include "kernels/packed_type.h"
#include "kernels/quant_block.h"

namespace linnet::kernels {

// Inputs whose weights lie together where groups share scales.
inline constexpr int kChunk = 2 * kGroup;

struct QuantLayout {
  PackedType type = DType::kF32;
  QuantTraits traits;
  int64_t rows = 0, cols = 0;
  int64_t groups = 0;            // per row
  int64_t chunks = 0;            // per row, where groups share scales
  int64_t groups_per_scale = 1;  // f16 scales, that is: 8 in the K formats
  int64_t tiles = 0;             // ceil(rows / 16)
  int64_t quant_bytes = 0;       // of a group of a tile
  int64_t scales_offset = 0, mins_offset = 0, sub_scales_offset = 0, sub_mins_offset = 0;
  int64_t tile_bytes = 0;  // a multiple of 64

  // REQUIRES: cols a multiple of the type's block.
  static QuantLayout For(PackedType type, int64_t rows, int64_t cols);
  int64_t bytes() const { return tiles * tile_bytes; }
};

// source: the rows as stored; `out`: tile_bytes. False: groups do not share scales as the type says; `out` holds
// nothing of use then.
bool PackTile(const QuantLayout& layout, const uint8_t* source, int64_t tile, uint8_t* out);
// The inverse, for one row of the tile.
void UnpackGroup(const QuantLayout& layout, const uint8_t* tile, int row_in_tile, int64_t group, QuantGroup& out);

}  // namespace linnet::kernels
