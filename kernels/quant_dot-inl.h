// Dot products of weights and activations as vectors of x86 make them: one copy for each Highway target. Include it
// inside a file laid out as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_QUANT_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_QUANT_DOT_INL_H_
#undef LINNET_KERNELS_QUANT_DOT_INL_H_
#else
#define LINNET_KERNELS_QUANT_DOT_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "kernels/quant_format-inl.h"

#if LINNET_SIMD_TARGET && HWY_ARCH_X86
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

HWY_INLINE VI8 BroadcastQuad(const int8_t* HWY_RESTRICT q) {
  int32_t four;
  std::memcpy(&four, q, sizeof(four));
  return hn::BitCast(di8, hn::Set(di32, four));
}

// Keeps a sum where the code makes it. Compilers otherwise reassociate chains of integer additions into trees, for
// which every product has to stay alive: ten times the registers that there are.
template <class V>
HWY_INLINE void Pin(V& v) {
#if HWY_TARGET <= HWY_AVX3
  asm("" : "+v"(v.raw));
#else
  asm("" : "+x"(v.raw));
#endif
}

template <class F>
HWY_INLINE VI32 DotFour(VU8 w, VI8 a, VI32 sum) {
#if HWY_TARGET == HWY_AVX2
  if constexpr (F::kDot == Dot::kVexVnni) {
    // Highway has no target with this instruction and without AVX-512.
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(w.raw), "x"(a.raw));
    return sum;
  }
#endif
  return hn::SumOfMulQuadAccumulate(di32, w, a, sum);
}

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_ARCH_X86

#endif  // per-target include guard
