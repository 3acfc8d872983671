// The reference for shared_matmul.cc, and what runs under LINNET_ISA=scalar.
#include <algorithm>
#include <cmath>

#include "kernels/float16.h"
#include "kernels/shared_matmul.h"

namespace linnet::kernels {
namespace {

void MultiplyScalar(const QuantSlice& slice) {
  const QuantLayout& layout = *slice.layout;
  const ActivationChunks& x = slice.chunks;
  const int64_t groups_per_sum = x.chunks_per_scale * (kChunk / kGroup);
  QuantGroup w;
  for (int64_t n = slice.begin_tile * kTileRows; n < std::min(slice.end_tile * kTileRows, layout.rows); ++n) {
    const uint8_t* const tile = slice.packed + n / kTileRows * layout.tile_bytes;
    for (int64_t r = 0; r < slice.x_rows; ++r) {
      float y = 0;
      for (int64_t s = 0; s < x.scales; ++s) {
        int32_t dot = 0;
        for (int64_t g = s * groups_per_sum; g < std::min(layout.groups, (s + 1) * groups_per_sum); ++g) {
          UnpackGroup(layout, tile, static_cast<int>(n % kTileRows), g, w);
          const int8_t* const q = x.Row(r) + g / 2 * x.block_rows * kChunk + g % 2 * kGroup;
          for (int k = 0; k < kGroup; ++k) dot += (w.q[k] - layout.traits.offset) * q[k];
        }
        const float x_scale = x.scale[x.ScaleAt(r) + s * x.block_rows];
        const float scale = layout.type == kInt8 ? x_scale : F32FromF16(w.d) * x_scale;
        y = std::fma(static_cast<float>(dot), scale, y);
      }
      if (layout.type == kInt8) y *= F32FromF16(w.d);
      slice.out.Store(r, n - slice.begin_tile * kTileRows, y);
    }
  }
}

}  // namespace

constinit const SharedMatmulTable kScalarSharedMatmul = {Isa::kScalar, MultiplyScalar, MultiplyScalar};

}  // namespace linnet::kernels
