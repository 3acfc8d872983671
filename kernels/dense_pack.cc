#include "kernels/dense_pack.h"

#include <algorithm>
#include <cstring>

#include "absl/log/check.h"
#include "kernels/quant_block.h"

namespace linnet::kernels {
namespace {

// `kBytes` as a constant: a copy of one element is one instruction.
template <size_t kBytes>
void Interleave(const DenseLayout& layout, const uint8_t* source, int64_t tile, uint8_t* out) {
  const int64_t row_bytes = layout.cols * static_cast<int64_t>(kBytes);
  const int rows = static_cast<int>(std::min<int64_t>(kTileRows, layout.rows - tile * kTileRows));
  const uint8_t* const first = source + tile * kTileRows * row_bytes;
  const int64_t used = row_bytes * kTileRows;
  std::memset(out + used, 0, static_cast<size_t>(layout.tile_bytes - used));
  if (rows < kTileRows) std::memset(out, 0, static_cast<size_t>(used));
  for (int64_t k = 0; k < layout.cols; ++k, out += kTileRows * kBytes) {
    const uint8_t* in = first + k * static_cast<int64_t>(kBytes);
    for (int r = 0; r < rows; ++r, in += row_bytes) std::memcpy(out + static_cast<size_t>(r) * kBytes, in, kBytes);
  }
}

}  // namespace

DenseLayout DenseLayout::For(DType type, int64_t rows, int64_t cols) {
  CHECK(!IsGroupQuantized(type));
  DenseLayout l{.type = type, .rows = rows, .cols = cols, .tiles = (rows + kTileRows - 1) / kTileRows};
  l.tile_bytes = (BytesFor(type, cols) * kTileRows + 63) / 64 * 64;
  return l;
}

void PackDenseTile(const DenseLayout& layout, const uint8_t* source, int64_t tile, uint8_t* out) {
  if (layout.type == DType::kF32) {
    Interleave<4>(layout, source, tile, out);
  } else {
    Interleave<2>(layout, source, tile, out);
  }
}

void UnpackDenseRow(const DenseLayout& layout, const uint8_t* tile, int row_in_tile, float* out) {
  const int64_t element = BytesFor(layout.type, 1);
  const uint8_t* at = tile + row_in_tile * element;
  for (int64_t k = 0; k < layout.cols; ++k, at += kTileRows * element) Dequantize(layout.type, at, 1, out + k);
}

}  // namespace linnet::kernels
