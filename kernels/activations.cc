#include "kernels/activations.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/activation_scale.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activations.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void QuantizeRow(const float* x, int64_t groups, int64_t stride, ActivationGroup* out) {
  // At most 16 lanes, so that a half group is a whole number of vectors.
  const hn::CappedTag<float, 16> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::Rebind<int8_t, decltype(df)> d8;
  constexpr size_t kLanes = hn::MaxLanes(df);
  constexpr size_t kHalf = kGroup / 2;
  for (int64_t g = 0; g < groups; ++g, x += kGroup, out += stride) {
    auto largest = hn::Zero(di);  // MagnitudeBits
    for (size_t i = 0; i < kGroup; i += kLanes) {
      largest = hn::Max(largest, hn::BitCast(di, hn::Abs(hn::LoadU(df, x + i))));
    }
    const float amax = std::bit_cast<float>(hn::ReduceMax(di, largest));
    if (!IsNumber(amax)) {
      *out = kNoNumbers;
      continue;
    }
    const auto factor = hn::Set(df, InverseActivationScale(amax));
    int32_t sums[2];
    for (size_t half = 0; half < 2; ++half) {
      auto sum = hn::Zero(di);
      for (size_t i = half * kHalf; i < (half + 1) * kHalf; i += kLanes) {
        const auto q = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), factor));
        sum = hn::Add(sum, q);
        hn::StoreU(hn::DemoteTo(d8, q), d8, out->q + i);
      }
      sums[half] = hn::ReduceSum(di, sum);
    }
    out->negative_sum = -(sums[0] + sums[1]);
    out->negative_first_half = -sums[0];
    out->scale = ActivationScale(amax);
    out->scaled_sum = out->scale * static_cast<float>(sums[0] + sums[1]);
  }
}

constexpr QuantizeRowFn kQuantizeRow = QuantizeRow;

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {
namespace {

void QuantizeRowScalar(const float* x, int64_t groups, int64_t stride, ActivationGroup* out) {
  for (int64_t g = 0; g < groups; ++g, x += kGroup, out += stride) {
    int32_t largest = 0;
    for (int i = 0; i < kGroup; ++i) largest = std::max(largest, MagnitudeBits(x[i]));
    const float amax = std::bit_cast<float>(largest);
    if (!IsNumber(amax)) {
      *out = kNoNumbers;
      continue;
    }
    const float inverse = InverseActivationScale(amax);
    int32_t sums[2] = {};
    for (int i = 0; i < kGroup; ++i) {
      const auto q = static_cast<int32_t>(std::nearbyint(x[i] * inverse));
      out->q[i] = static_cast<int8_t>(q);
      sums[i / 16] += q;
    }
    out->negative_sum = -(sums[0] + sums[1]);
    out->negative_first_half = -sums[0];
    out->scale = ActivationScale(amax);
    out->scaled_sum = out->scale * static_cast<float>(sums[0] + sums[1]);
  }
}

}  // namespace

QuantizeRowFn QuantizeRowFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kQuantizeRow, QuantizeRowScalar); }

Activations::Activations() : forms_(std::make_unique<Forms>()) {}
Activations::~Activations() = default;

void Activations::Set(const float* x, int64_t rows, int64_t cols) {
  x_ = x;
  rows_ = rows;
  cols_ = cols;
  forms_->quantized = forms_->paneled = false;
  for (auto& [chunks_per_scale, form] : forms_->chunks) form.quantized = false;
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
