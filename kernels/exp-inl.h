// Exponentials of vectors, for the kernels' inner loops: one copy for each Highway target. Include it inside a file
// laid out as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_EXP_INL_H_
#undef LINNET_KERNELS_EXP_INL_H_
#else
#define LINNET_KERNELS_EXP_INL_H_
#endif

#include "hwy/highway.h"

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// 2^(n + r) for an integer n, given as n + 1.5 * 2^23, and |r| <= 0.5; 0 where `x`, which is n + r, is below -126.
// Relative error <= 1e-7 (a minimax polynomial of 2^r: its own is 2e-9); 1 for x = 0.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V Exp2Parts(D d, V x, V shifted, V r) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  V p = hn::Set(d, 0.0001534581242594868f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.0013399930903688073f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.009618489071726799f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.05550328642129898f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.24022646248340607f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.6931471824645996f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  // n is in the lowest bits of `shifted`: added to the exponent.
  p = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
  return hn::IfThenElseZero(hn::Ge(x, hn::Set(d, -126.0f)), p);
}

// 2^x for x <= 127; 0 for x < -126, minus infinity among them.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V FastExp2(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V shift = hn::Set(d, 12582912.0f);  // 1.5 * 2^23: adding it rounds to integers
  const V clamped = hn::Max(x, hn::Set(d, -127.0f));
  const V shifted = hn::Add(clamped, shift);
  return Exp2Parts(d, x, shifted, hn::Sub(clamped, hn::Sub(shifted, shift)));
}

// e^x for x <= 88; 0 for x < -87.3.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V FastExp(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V shift = hn::Set(d, 12582912.0f);
  const V log2e = hn::Set(d, 1.44269502162933349609375f), rest = hn::Set(d, 1.925963033500939e-8f);
  const V clamped = hn::Max(x, hn::Set(d, -88.0f));
  const V exponent = hn::Mul(clamped, log2e);
  const V shifted = hn::Add(exponent, shift);
  // x * log2(e) - n, the product not rounded.
  V r = hn::MulSub(clamped, log2e, hn::Sub(shifted, shift));
  r = hn::MulAdd(clamped, rest, r);
  return Exp2Parts(d, exponent, shifted, r);
}

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#endif  // per-target include guard
