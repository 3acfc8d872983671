// How quantized products go through tiles of packed weights and rows of x, whatever the instructions: one copy for each
// Highway target. Include it inside a file laid out as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_QUANT_STEPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_QUANT_STEPS_INL_H_
#undef LINNET_KERNELS_QUANT_STEPS_INL_H_
#else
#define LINNET_KERNELS_QUANT_STEPS_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/activations.h"
#include "kernels/quant_format-inl.h"
#include "kernels/quant_matmul.h"
#include "kernels/quant_pack.h"
#include "kernels/weights_ahead.h"

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// Many rows go through a tile together, some groups at a time, so that these groups' weights are unpacked once and both
// they (8 KB) and the rows' activations (24 KB) stay in the first-level cache.
constexpr int64_t kPassRows = 32;
constexpr int64_t kPassGroups = 16;
static_assert(kPassRows % kActivationBlock == 0);

// Calls f.template Do<kRows>(row) for steps of rows that cover [row, end), the largest first, so that every
// step is within a block of activations.
template <int kRows, class Step>
HWY_INLINE void ForRowSteps(int64_t row, int64_t end, const Step& f) {
  for (; row + kRows <= end; row += kRows) f.template Do<kRows>(row);
  if constexpr (kRows > 1) ForRowSteps<kRows / 2>(row, end, f);
}

// kRows rows of x, from `row` on, with one tile: what the file that includes this makes of it.
template <class F, int kRows>
void MultiplyTile(const QuantSlice& slice, int64_t tile_index, int64_t row);

template <class F>
struct TileStep {
  const QuantSlice& slice;
  int64_t begin, end;  // tiles
  template <int kRows>
  HWY_INLINE void Do(int64_t row) const {
    for (int64_t tile = begin; tile < end; ++tile) MultiplyTile<F, kRows>(slice, tile, row);
  }
};

// Rows few enough to unpack a tile's weights for each step of them.
template <class F, int kMaxRows>
void MultiplyFew(const QuantSlice& slice) {
  // Some tiles stay in the first-level cache while rows pass by.
  constexpr int64_t kCachedBytes = 20 << 10;
  const int64_t tiles = std::max<int64_t>(1, kCachedBytes / slice.layout->tile_bytes);
  for (int64_t begin = slice.begin_tile; begin < slice.end_tile; begin += tiles) {
    ForRowSteps<kMaxRows>(0, slice.x_rows, TileStep<F>{slice, begin, std::min(slice.end_tile, begin + tiles)});
  }
}

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#endif  // per-target include guard
