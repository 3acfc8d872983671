#include "kernels/recurrence.h"

#include <algorithm>
#include <cmath>

#include "absl/log/check.h"
#include "kernels/isa.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/recurrence.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/exp-inl.h"
#include "kernels/float_vectors-inl.h"
// clang-format on

#ifndef LINNET_KERNELS_RECURRENCE_ONCE_
#define LINNET_KERNELS_RECURRENCE_ONCE_
namespace linnet::kernels {

struct RecurrenceTable {
  void (*convolve)(const ConvolutionWeights& conv, const ConvolutionSpan& span, int64_t begin, int64_t end);
  void (*rg_lru)(const float* decay, int64_t width, const RgLruSpan& span, int64_t begin, int64_t end);
};

}  // namespace linnet::kernels
#endif

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

void Convolve(const ConvolutionWeights& conv, const ConvolutionSpan& span, int64_t begin, int64_t end) {
  const int64_t width = conv.width, before = conv.taps - 1;
  for (int64_t c = begin; c < end; c += kLanes) {
    const size_t n = Count(c, end);
    for (int64_t t = 0; t < span.tokens; ++t) {
      VF sum = hn::LoadN(df, conv.bias + c, n);
      for (int64_t k = 0; k < conv.taps; ++k) {
        const int64_t from = t - before + k;
        const float* const x = from < 0 ? span.history + (from + before) * width : span.x + from * width;
        sum = hn::MulAdd(hn::LoadN(df, conv.weights + k * width + c, n), hn::LoadN(df, x + c, n), sum);
      }
      hn::StoreN(sum, df, span.y + t * width + c, n);
    }
  }
}

HWY_INLINE VF Sigmoid(VF z) {
  const VF one = hn::Set(df, 1.0f), e = FastExp(df, hn::Neg(hn::Abs(z)));
  return hn::Div(hn::IfThenElse(hn::Lt(z, hn::Zero(df)), e, one), hn::Add(one, e));
}

void RgLruVectors(const float* decay, int64_t width, const RgLruSpan& span, int64_t begin, int64_t end) {
  const VF one = hn::Set(df, 1.0f);
  for (int64_t c = begin; c < end; c += kLanes) {
    const size_t n = Count(c, end);
    const VF decay_v = hn::LoadN(df, decay + c, n);
    VF state = span.begins ? hn::Zero(df) : hn::LoadN(df, span.state + c, n);
    for (int64_t t = 0; t < span.tokens; ++t) {
      const int64_t at = t * width + c;
      const VF exponent = hn::Mul(decay_v, Sigmoid(hn::LoadN(df, span.recurrence_gate + at, n)));
      const VF gated = hn::Mul(hn::LoadN(df, span.x + at, n), Sigmoid(hn::LoadN(df, span.input_gate + at, n)));
      if (t == 0 && span.begins) {
        state = gated;
      } else {
        const VF kept = FastExp(df, exponent), square = FastExp(df, hn::Add(exponent, exponent));
        const VF added = hn::Mul(gated, hn::Sqrt(hn::Max(hn::Sub(one, square), hn::Zero(df))));
        state = hn::MulAdd(kept, state, added);
      }
      hn::StoreN(hn::Mul(state, hn::LoadN(df, span.multiplier + at, n)), df, span.out + at, n);
    }
    hn::StoreN(state, df, span.state + c, n);
  }
}

constexpr RecurrenceTable kRecurrence = {Convolve, RgLruVectors};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {
namespace {

void ConvolveScalar(const ConvolutionWeights& conv, const ConvolutionSpan& span, int64_t begin, int64_t end) {
  const int64_t width = conv.width, before = conv.taps - 1;
  for (int64_t t = 0; t < span.tokens; ++t) {
    for (int64_t c = begin; c < end; ++c) {
      float sum = conv.bias[c];
      for (int64_t k = 0; k < conv.taps; ++k) {
        const int64_t from = t - before + k;
        const float x = from < 0 ? span.history[(from + before) * width + c] : span.x[from * width + c];
        sum = std::fma(conv.weights[k * width + c], x, sum);
      }
      span.y[t * width + c] = sum;
    }
  }
}

void RgLruScalar(const float* decay, int64_t width, const RgLruSpan& span, int64_t begin, int64_t end) {
  const auto sigmoid = [](float z) { return 1.0f / (1.0f + std::exp(-z)); };
  for (int64_t t = 0; t < span.tokens; ++t) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t at = t * width + c;
      const float exponent = decay[c] * sigmoid(span.recurrence_gate[at]);
      const float gated = span.x[at] * sigmoid(span.input_gate[at]);
      float& state = span.state[c];
      if (t == 0 && span.begins) {
        state = gated;
      } else {
        state = std::fma(std::exp(exponent), state, gated * std::sqrt(1.0f - std::exp(2 * exponent)));
      }
      span.out[at] = state * span.multiplier[at];
    }
  }
}

constexpr RecurrenceTable kScalarRecurrence = {ConvolveScalar, RgLruScalar};

const RecurrenceTable& TableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kRecurrence, kScalarRecurrence); }

const RecurrenceTable& Table(bool reference) {
  if (reference) return kScalarRecurrence;
  const auto isa = ActiveIsa();
  CHECK_OK(isa.status());
  return TableFor(*isa);
}

}  // namespace

void ShortConvolution(const ConvolutionWeights& conv, const ConvolutionSpan& span, int64_t begin, int64_t end) {
  Table(false).convolve(conv, span, begin, end);
  const int64_t width = conv.width, before = conv.taps - 1;
  // Oldest first: a row is overwritten when it has been moved.
  for (int64_t row = 0; row < before; ++row) {
    const int64_t from = span.tokens - before + row;
    const float* const x = from < 0 ? span.history + (from + before) * width : span.x + from * width;
    std::copy(x + begin, x + end, span.history + row * width + begin);
  }
}

void RgLru(const float* decay, int64_t width, const RgLruSpan& span, int64_t begin, int64_t end, bool reference) {
  Table(reference).rg_lru(decay, width, span, begin, end);
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
