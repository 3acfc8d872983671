#include "kernels/kernel_bench_limits.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernel_bench_limits.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

uint64_t Sum(const uint64_t* words, int64_t n) {
  const hn::CappedTag<uint64_t, 8> d;
  constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));
  auto a = hn::Zero(d), b = a, c = a, e = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = hn::Add(a, hn::LoadU(d, words + i));
    b = hn::Add(b, hn::LoadU(d, words + i + kLanes));
    c = hn::Add(c, hn::LoadU(d, words + i + 2 * kLanes));
    e = hn::Add(e, hn::LoadU(d, words + i + 3 * kLanes));
  }
  return hn::ReduceSum(d, hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

int64_t DotProducts(int64_t rounds) {
  const hn::CappedTag<uint8_t, 64> du8;
  const hn::RebindToSigned<decltype(du8)> di8;
  const hn::Repartition<int32_t, decltype(du8)> di32;
  constexpr int kChains = 10;  // more than latency times throughput
  hn::Vec<decltype(di32)> sum[kChains];
  for (auto& s : sum) s = hn::Zero(di32);
  // Read back from memory so that the compiler knows nothing of them.
  volatile uint8_t one = 1;
  const auto w = hn::Set(du8, one);
  const auto x = hn::Set(di8, static_cast<int8_t>(one));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) {
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3_DL
      const hn::Repartition<int16_t, decltype(du8)> di16;
      const auto pairs = hn::SatWidenMulPairwiseAdd(di16, w, hn::Xor(x, hn::BitCast(di8, sum[c])));
      sum[c] = hn::Add(sum[c], hn::WidenMulPairwiseAdd(di32, pairs, hn::Set(di16, 1)));
#else
      sum[c] = hn::SumOfMulQuadAccumulate(di32, w, x, sum[c]);
#endif
    }
  }
  volatile int32_t sink = 0;
  for (auto& s : sum) sink = sink + hn::ReduceSum(di32, s);
  return rounds * kChains * static_cast<int64_t>(hn::MaxLanes(du8)) * 2;
}

constexpr LimitsTable kLimits = {Sum, DotProducts};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {
namespace {

uint64_t SumScalar(const uint64_t* words, int64_t n) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += words[i];
  return sum;
}
int64_t DotProductsScalar(int64_t rounds) {
  volatile int32_t one = 1;
  int32_t sum = 0;
  for (int64_t r = 0; r < rounds; ++r) sum += one * one;
  volatile int32_t sink = sum;
  (void)sink;
  return rounds * 2;
}
constexpr LimitsTable kScalarLimits = {SumScalar, DotProductsScalar};

}  // namespace

const LimitsTable& LimitsTableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kLimits, kScalarLimits); }

}  // namespace linnet::kernels
#endif  // HWY_ONCE
