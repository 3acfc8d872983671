// The packed formats whose groups share scales as vectors see them: one copy for each Highway target. Include it inside
// a file laid out as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_SHARED_FORMAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_SHARED_FORMAT_INL_H_
#undef LINNET_KERNELS_SHARED_FORMAT_INL_H_
#else
#define LINNET_KERNELS_SHARED_FORMAT_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/quant_format-inl.h"
#include "kernels/shared_matmul.h"

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// A chunk of a tile with a byte for each weight.
constexpr int64_t kByteChunk = kChunk / 4 * kQuadBytes;
constexpr int kGroupsPerChunk = kChunk / kGroup;

// `Base`: the format of the quants.
template <class Base, int kChunksPerScale_, bool kScaleOfRow_>
struct SharedFormat : Base {
  static constexpr int kChunksPerScale = kChunksPerScale_;  // of activations
  static constexpr bool kScaleOfRow = kScaleOfRow_;         // of the weights; else each chunk has one
  static constexpr int64_t kChunkBytes = kGroupsPerChunk * Base::kQuantBytes;
};
template <Dot kDot>
struct SharedFormats {
  using Int8 = SharedFormat<typename Formats<kDot>::Q8_0, kInt8ChunksPerScale, true>;
  using Int4G64 = SharedFormat<typename Formats<kDot>::Q4_0, kInt4G64ChunksPerScale, false>;
};

// -offset * sum(q): where the integer sum of weights that count from 0 starts.
template <class F>
HWY_INLINE VI32 OffsetSum(int32_t negative_sum) {
  constexpr int kLog2 = F::kOffset == 8 ? 3 : 7;
  static_assert(F::kOffset == 1 << kLog2);
  return hn::ShiftLeft<kLog2>(hn::Set(di32, negative_sum));
}

// Scales of the weights of chunk c for the rows from lane0 on. scales: the tile's.
HWY_INLINE VF ChunkScale(const uint8_t* scales, int64_t c, int lane0) {
  return LoadHalf(scales + (c * kTileRows + lane0) * 2);
}

// Sums of a tile for some rows, [row][16], times the scales of the weights' rows where they have one.
template <class F>
HWY_INLINE void ScaleByRow(const uint8_t* HWY_RESTRICT scales, int64_t rows, float* HWY_RESTRICT sums) {
  if constexpr (F::kScaleOfRow) {
    for (int v = 0; v < kVectors; ++v) {
      const VF scale = ChunkScale(scales, 0, v * kRowLanes);
      for (int64_t r = 0; r < rows; ++r) {
        float* const at = sums + r * kTileRows + v * kRowLanes;
        hn::Store(hn::Mul(hn::Load(df, at), scale), df, at);
      }
    }
  }
}

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#endif  // per-target include guard
