// The sums of a tile's outputs as vectors see them: one copy for each Highway target. Include it inside a file laid out
// as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_TILE_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_TILE_SUMS_INL_H_
#undef LINNET_KERNELS_TILE_SUMS_INL_H_
#else
#define LINNET_KERNELS_TILE_SUMS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/matrix.h"
#include "kernels/packed_tiles.h"

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector holds `kRowLanes` of a tile's outputs; `kVectors` of them hold all.
using DF = hn::CappedTag<float, kTileRows>;
using VF = hn::Vec<DF>;
constexpr DF df;
constexpr int kRowLanes = static_cast<int>(hn::MaxLanes(df));
constexpr int kVectors = kTileRows / kRowLanes;

// Sums of kRows rows of x, [row][16], to and from registers.
template <int kRows>
HWY_INLINE void LoadSums(const float* HWY_RESTRICT sums, VF (*HWY_RESTRICT y)[kVectors]) {
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) y[r][v] = hn::Load(df, sums + r * kTileRows + v * kRowLanes);
  }
}
template <int kRows>
HWY_INLINE void StoreSums(const VF (*HWY_RESTRICT y)[kVectors], float* HWY_RESTRICT sums) {
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) hn::Store(y[r][v], df, sums + r * kTileRows + v * kRowLanes);
  }
}

// Writes outputs [first, first + valid) of the slice for rows [row, end), whose sums are in `sums`: bias and residual
// are added.
HWY_INLINE void FinishOutputs(const OutputSlice& out, int64_t first, int64_t valid, int64_t row, int64_t end,
                              const float* sums) {
  for (; row < end; ++row, sums += kTileRows) {
    for (int lane = 0; lane < valid; lane += kRowLanes) {
      const int64_t i = first + lane, at = row * out.stride + i;
      VF sum = hn::Load(df, sums + lane);
      if (lane + kRowLanes <= valid) {
        if (out.bias != nullptr) sum = hn::Add(sum, hn::LoadU(df, out.bias + i));
        if (out.residual != nullptr) sum = hn::Add(sum, hn::LoadU(df, out.residual + at));
        hn::StoreU(sum, df, out.y + at);
      } else {
        const size_t lanes = static_cast<size_t>(valid - lane);
        if (out.bias != nullptr) sum = hn::Add(sum, hn::LoadN(df, out.bias + i, lanes));
        if (out.residual != nullptr) sum = hn::Add(sum, hn::LoadN(df, out.residual + at, lanes));
        hn::StoreN(sum, df, out.y + at, lanes);
      }
    }
  }
}

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#endif  // per-target include guard
