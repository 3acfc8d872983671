// Vectors of floats for element by element kernels: one copy for each Highway target. Include it inside a file laid out
// as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_FLOAT_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_FLOAT_VECTORS_INL_H_
#undef LINNET_KERNELS_FLOAT_VECTORS_INL_H_
#else
#define LINNET_KERNELS_FLOAT_VECTORS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using VF = hn::Vec<DF>;
constexpr DF df;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(df));

// Lanes of the vector at element i of n.
HWY_INLINE size_t Count(int64_t i, int64_t n) { return static_cast<size_t>(std::min(kLanes, n - i)); }

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#endif  // per-target include guard
