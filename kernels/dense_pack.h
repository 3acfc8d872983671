// The layout in which the SIMD kernels read f16, bf16 and f32 weights: as stored, but interleaved so that one vector
// holds the same input's weights for several output rows. The same for every ISA; narrower vectors take a part of it.
//
// A tile is [cols][16 output rows] of the stored type, rows beyond the last one and bytes up to a 64-byte border zero.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/packed_tiles.h"

namespace linnet::kernels {

struct DenseLayout {
  DType type;
  int64_t rows = 0, cols = 0;
  int64_t tiles = 0;       // ceil(rows / 16)
  int64_t tile_bytes = 0;  // a multiple of 64

  // REQUIRES: f16, bf16 or f32.
  static DenseLayout For(DType type, int64_t rows, int64_t cols);
  int64_t bytes() const { return tiles * tile_bytes; }
};

// source: the rows as stored; `out`: tile_bytes.
void PackDenseTile(const DenseLayout& layout, const uint8_t* source, int64_t tile, uint8_t* out);
// The inverse for one row, widened to f32. out: [cols].
void UnpackDenseRow(const DenseLayout& layout, const uint8_t* tile, int row_in_tile, float* out);

}  // namespace linnet::kernels
