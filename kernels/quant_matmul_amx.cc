// Products of many rows on the tile unit of x86 servers (AMX, Intel SDM volume 1 chapter 18): one instruction
// multiplies 16 rows of activations by 16 output rows of weights over a group's 32 k. Fewer rows go the way of
// AVX-512-VNNI; the bits are the same.
#include <algorithm>

#include "kernels/amx_config.h"
#include "kernels/quant_matmul.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quant_matmul_amx.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/quant_format-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_TARGET == HWY_AVX3_DL
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

constexpr int kTileDots = kTileRows * kTileRows;
constexpr int64_t kPassRows = 32;    // whose activations and ...
constexpr int64_t kPassGroups = 16;  // ... whose unpacked weights are in the first-level cache together
static_assert(kActivationBlock == 16 && kVectors == 1);

// Tile registers 0 and 1 hold dot products, 2 and 3 activations, 4 and 5 weights. k: how many a dot product takes.
AmxConfig ConfigFor(int k) {
  AmxConfig config;
  for (int t = 0; t < 6; ++t) {
    config.row_bytes[t] = static_cast<uint16_t>(t == 2 || t == 3 ? k : 64);
    config.rows[t] = static_cast<uint8_t>(t < 4 ? 16 : k / 4);
  }
  return config;
}

// dots[scale][row][n] of one group: 16 rows of x by the weights at `bytes`, which are signed.
template <class F>
HWY_INLINE void DotTiles(const ActivationGroup* x, const uint8_t* bytes, int32_t* dots) {
  const int64_t x_stride = sizeof(ActivationGroup), quad_stride = kQuadBytes;
  asm volatile(
      "tilezero %%tmm0\n\t"
      "tileloadd (%0,%2,1), %%tmm2\n\t"
      "tileloadd (%1,%3,1), %%tmm4\n\t"
      "tdpbssd %%tmm4, %%tmm2, %%tmm0\n\t"
      "tilestored %%tmm0, (%4,%3,1)\n\t" ::"r"(x->q),
      "r"(bytes), "r"(x_stride), "r"(quad_stride), "r"(dots)
      : "memory");
  if constexpr (F::kScales == 2) {
    asm volatile(
        "tilezero %%tmm1\n\t"
        "tileloadd (%0,%2,1), %%tmm3\n\t"
        "tileloadd (%1,%3,1), %%tmm5\n\t"
        "tdpbssd %%tmm5, %%tmm3, %%tmm1\n\t"
        "tilestored %%tmm1, (%4,%3,1)\n\t" ::"r"(x->q + kGroup / 2),
        "r"(bytes + kByteGroup / 2), "r"(x_stride), "r"(quad_stride), "r"(dots + kTileDots)
        : "memory");
  }
}

// Groups [begin, end) of a tile, at `bytes`, for a block of 16 rows: x is its first row's group `begin`.
template <class F>
HWY_NOINLINE void AddGroupsOnTiles(const QuantLayout& layout, const uint8_t* HWY_RESTRICT tile, const uint8_t* bytes,
                                   int64_t begin, int64_t end, const ActivationGroup* x, float* HWY_RESTRICT sums) {
  HWY_ALIGN int32_t dots[2][F::kScales * kTileDots];
  VF y[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) y[r] = hn::Load(df, sums + r * kTileRows);
  DotTiles<F>(x, bytes, dots[0]);
  for (int64_t g = begin; g < end; ++g, x += kActivationBlock) {
    // The tile unit works on the next group while vectors scale this one.
    bytes += kByteGroup;
    if (g + 1 < end) DotTiles<F>(x + kActivationBlock, bytes, dots[(g + 1 - begin) & 1]);
    const int32_t* const ready = dots[(g - begin) & 1];
    GroupScales<F> scales;
    LoadScales<F>(layout, tile, 0, g, scales);
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      VI32 dot[F::kScales];
#pragma GCC unroll 2
      for (int s = 0; s < F::kScales; ++s) dot[s] = hn::Load(di32, ready + s * kTileDots + r * kTileRows);
      y[r] = AddGroup<F>(y[r], dot, scales, x[r]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) hn::Store(y[r], df, sums + r * kTileRows);
}

template <class F>
void MultiplyOnTiles(const QuantSlice& slice) {
  const QuantLayout& layout = *slice.layout;
  HWY_ALIGN uint8_t bytes[kPassGroups * kByteGroup];
  HWY_ALIGN float sums[kPassRows * kTileRows];
  const AmxConfig config = ConfigFor(kGroup / F::kScales);
  asm volatile("ldtilecfg %0" ::"m"(config));
  for (int64_t first_row = 0; first_row < slice.x_rows; first_row += kPassRows) {
    const int64_t end_row = std::min(slice.x_rows, first_row + kPassRows);
    for (int64_t t = slice.begin_tile; t < slice.end_tile; ++t) {
      const uint8_t* const tile = slice.packed + t * layout.tile_bytes;
      std::fill(sums, sums + kPassRows * kTileRows, 0.0f);
      for (int64_t begin = 0; begin < layout.groups; begin += kPassGroups) {
        const int64_t end = std::min(layout.groups, begin + kPassGroups);
        for (int64_t g = begin; g < end; ++g) {
          UnpackQuads<F, F::kOffset>(tile + g * F::kQuantBytes, bytes + (g - begin) * kByteGroup);
        }
        // Rows of the last block that do not exist are computed from whatever lies there, and dropped.
        for (int64_t row = first_row; row < end_row; row += kActivationBlock) {
          AddGroupsOnTiles<F>(layout, tile, bytes, begin, end, slice.x.Row(row) + begin * kActivationBlock,
                              sums + (row - first_row) * kTileRows);
        }
      }
      FinishTile(slice, t, first_row, end_row, sums);
    }
  }
  asm volatile("tilerelease");
}

template <class F>
void MultiplyAmx(const QuantSlice& slice) {
  if (slice.x.block_rows == kActivationBlock) {
    MultiplyOnTiles<F>(slice);
  } else {
    QuantMatmulTableFor(Isa::kAvx512Vnni).For(F::kDType)(slice);
  }
}

using AmxFormats = Formats<Dot::kFourWay>;
constexpr QuantMatmulTable kAmxQuantMatmul = {Isa::kAvx512Amx,
                                              MultiplyAmx<AmxFormats::Q4_0>,
                                              MultiplyAmx<AmxFormats::Q4_1>,
                                              MultiplyAmx<AmxFormats::Q5_0>,
                                              MultiplyAmx<AmxFormats::Q5_1>,
                                              MultiplyAmx<AmxFormats::Q8_0>,
                                              MultiplyAmx<AmxFormats::Q4_K>,
                                              MultiplyAmx<AmxFormats::Q5_K>,
                                              MultiplyAmx<AmxFormats::Q6_K>};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_TARGET == HWY_AVX3_DL

#if HWY_ONCE && defined(__x86_64__) && !LINNET_SIMD_AVX2_ONLY
namespace linnet::kernels {

const QuantMatmulTable& AmxQuantMatmulTable() { return N_AVX3_DL::kAmxQuantMatmul; }

}  // namespace linnet::kernels
#endif  // HWY_ONCE
