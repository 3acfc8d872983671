// The reference for quant_matmul.cc, and what runs under LINNET_ISA=scalar.
#include <cmath>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "kernels/float16.h"
#include "kernels/quant_matmul.h"

namespace linnet::kernels {
namespace {

void MultiplyScalar(const QuantSlice& slice) {
  const QuantLayout& layout = *slice.layout;
  const QuantTraits& traits = layout.traits;
  QuantGroup w;
  for (int64_t n = slice.begin_tile * kTileRows; n < std::min(slice.end_tile * kTileRows, layout.rows); ++n) {
    const uint8_t* const tile = slice.packed + n / kTileRows * layout.tile_bytes;
    for (int64_t r = 0; r < slice.x_rows; ++r) {
      float y = 0;
      for (int64_t g = 0; g < layout.groups; ++g) {
        const ActivationGroup& x = slice.x.Row(r)[g * slice.x.block_rows];
        UnpackGroup(layout, tile, static_cast<int>(n % kTileRows), g, w);
        const int per_scale = kGroup / traits.scales_per_group;
        for (int s = 0; s < traits.scales_per_group; ++s) {
          int32_t dot = 0;
          for (int k = s * per_scale; k < (s + 1) * per_scale; ++k) dot += (w.q[k] - traits.offset) * x.q[k];
          float scale = F32FromF16(w.d);
          if (traits.super) {
            scale *= traits.scales_per_group == 2 ? static_cast<float>(static_cast<int8_t>(w.sub_scale[s]))
                                                  : static_cast<float>(w.sub_scale[s]);
          }
          y = std::fma(static_cast<float>(dot), scale * x.scale, y);
        }
        if (traits.has_min) {
          const float min = F32FromF16(w.m);
          y = std::fma(traits.super ? -(min * static_cast<float>(w.sub_min)) : min, x.scaled_sum, y);
        }
      }
      slice.out.Store(r, n - slice.begin_tile * kTileRows, y);
    }
  }
}

}  // namespace

constinit const QuantMatmulTable kScalarQuantMatmul = {Isa::kScalar,   MultiplyScalar, MultiplyScalar,
                                                       MultiplyScalar, MultiplyScalar, MultiplyScalar,
                                                       MultiplyScalar, MultiplyScalar, MultiplyScalar};

QuantMatmulFn QuantMatmulTable::For(DType type) const {
  switch (type) {
    case DType::kQ4_0:
      return q4_0;
    case DType::kQ4_1:
      return q4_1;
    case DType::kQ5_0:
      return q5_0;
    case DType::kQ5_1:
      return q5_1;
    case DType::kQ8_0:
      return q8_0;
    case DType::kQ4_K:
      return q4_k;
    case DType::kQ5_K:
      return q5_k;
    case DType::kQ6_K:
      return q6_k;
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  LOG(FATAL) << Info(type).name << " is not group-quantized";
}

}  // namespace linnet::kernels
