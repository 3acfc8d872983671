#include "kernels/quantize_super.h"

#include <algorithm>
#include <cmath>

#include "kernels/float16.h"
#include "kernels/quant_block.h"
#include "kernels/quantize.h"
#include "kernels/quantize_fit.h"

namespace linnet::kernels::quantize_internal {
namespace {

// Each round picks every group's integers for the super-block's scales as they are stored, then refits those to the
// integers; after the last one nothing is refitted any more.
constexpr int kRounds = 3;
constexpr float kSmallestF16 = 0x1p-24f;

// A positive scale as f16: at least the smallest one, so that small weights do not vanish with their scale.
uint16_t PositiveF16(float scale) { return F16FromF32(std::max(scale, kSmallestF16)); }

// --- Q4_K, Q5_K: x ~ (d * sub_scale) * q - dmin * sub_min ---------------------------------------------------------

constexpr int kAffineGroups = kSuper / kGroup;
constexpr int kMostSub = 63;

struct AffineGroup {
  int scale = 0, min = 0;  // 0 to 63
  float q[kGroup];
};

// The best integers within one step of those given.
void ChooseAffine(const float* x, const float* w, float d, float dmin, float high, AffineGroup& group) {
  AffineGroup best = group;
  float best_error = INFINITY;
  for (int scale = std::max(0, group.scale - 1); scale <= std::min(kMostSub, group.scale + 1); ++scale) {
    for (int min = std::max(0, group.min - 1); min <= std::min(kMostSub, group.min + 1); ++min) {
      AffineGroup tried{.scale = scale, .min = min, .q = {}};
      const float error =
          RoundAffine<kGroup>(x, w, d * static_cast<float>(scale), -dmin * static_cast<float>(min), high, tried.q);
      if (error < best_error) {
        best_error = error;
        best = tried;
      }
    }
  }
  group = best;
}

// Least squares of x against a = sub_scale * q and b = sub_min for the d and dmin in x ~ d * a - dmin * b.
void RefitAffine(const float* x, const float* w, const AffineGroup* groups, float* d, float* dmin) {
  double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
  for (int g = 0; g < kAffineGroups; ++g) {
    const double b = groups[g].min;
    for (int i = 0; i < kGroup; ++i) {
      const double a = static_cast<double>(groups[g].q[i]) * groups[g].scale;
      const double weight = w[g * kGroup + i], value = x[g * kGroup + i];
      aa += weight * a * a;
      ab += weight * a * b;
      bb += weight * b * b;
      xa += weight * value * a;
      xb += weight * value * b;
    }
  }
  const double determinant = aa * bb - ab * ab;
  if (determinant > 1e-6 * aa * bb) {
    const double new_d = (xa * bb - xb * ab) / determinant, new_dmin = (xa * ab - xb * aa) / determinant;
    if (new_d > 0 && new_dmin >= 0) {
      *d = static_cast<float>(new_d);
      *dmin = static_cast<float>(new_dmin);
    }
  } else if (bb == 0 && aa > 0 && xa > 0) {
    *d = static_cast<float>(xa / aa);
  }
}

void QuantizeAffine(DType type, const float* x, const float* w, uint8_t* block) {
  const bool five = type == DType::kQ5_K;
  const float high = five ? 31 : 15;
  const Search search = {.low = 0, .high = high, .below = five ? 2.0f : 1.5f, .above = 0.8f, .steps = 16};
  Affine fits[kAffineGroups];
  float most_scale = 0, most_min = 0;
  for (int g = 0; g < kAffineGroups; ++g) {
    fits[g] = FitAffine<kGroup>(x + g * kGroup, w + g * kGroup, search, /*min_below_zero=*/true);
    most_scale = std::max(most_scale, fits[g].scale);
    most_min = std::max(most_min, -fits[g].min);
  }
  if (most_scale < kSmallest && most_min < kSmallest) return;  // all zero, as the block is

  uint16_t d16 = PositiveF16(most_scale / kMostSub), dmin16 = PositiveF16(most_min / kMostSub);
  float d = F32FromF16(d16), dmin = F32FromF16(dmin16);
  AffineGroup groups[kAffineGroups];
  for (int g = 0; g < kAffineGroups; ++g) {
    groups[g].scale = static_cast<int>(Clamp(std::round(fits[g].scale / d), 0, kMostSub));
    groups[g].min = static_cast<int>(Clamp(std::round(-fits[g].min / dmin), 0, kMostSub));
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int g = 0; g < kAffineGroups; ++g) ChooseAffine(x + g * kGroup, w + g * kGroup, d, dmin, high, groups[g]);
    if (round + 1 == kRounds) break;
    RefitAffine(x, w, groups, &d, &dmin);
    d16 = PositiveF16(d);
    dmin16 = PositiveF16(dmin);
    d = F32FromF16(d16);
    dmin = F32FromF16(dmin16);
  }
  for (int g = 0; g < kAffineGroups; ++g) {
    QuantGroup out;
    out.d = d16;
    out.m = dmin16;
    out.sub_scale[0] = static_cast<uint8_t>(groups[g].scale);
    out.sub_min = static_cast<uint8_t>(groups[g].min);
    for (int i = 0; i < kGroup; ++i) out.q[i] = static_cast<uint8_t>(groups[g].q[i]);
    EncodeGroup(type, out, g, block);
  }
}

// --- Q6_K: x ~ (d * sub_scale) * q, groups of 16, signed scales ---------------------------------------------------

constexpr int kSixGroup = 16;
constexpr int kSixGroups = kSuper / kSixGroup;

struct SixGroup {
  int scale = 0;  // -128 to 127
  float q[kSixGroup];
};

constexpr Search kSixSearch = {.low = -32, .high = 31, .below = 4.0f, .above = 0.8f, .steps = 16};

void ChooseSix(const float* x, const float* w, float d, SixGroup& group) {
  SixGroup best = group;
  float best_error = INFINITY;
  for (int scale = std::max(-128, group.scale - 1); scale <= std::min(127, group.scale + 1); ++scale) {
    SixGroup tried{.scale = scale, .q = {}};
    const float error = RoundSymmetric<kSixGroup>(x, w, d * static_cast<float>(scale), kSixSearch, tried.q);
    if (error < best_error) {
      best_error = error;
      best = tried;
    }
  }
  group = best;
}

void QuantizeSix(const float* x, const float* w, uint8_t* block) {
  float fits[kSixGroups];
  float most = 0;
  for (int g = 0; g < kSixGroups; ++g) {
    fits[g] = FitScale<kSixGroup>(x + g * kSixGroup, w + g * kSixGroup, kSixSearch);
    if (std::fabs(fits[g]) > std::fabs(most)) most = fits[g];
  }
  if (std::fabs(most) < kSmallest) {
    // q - 32 is the weight: all zero is not all bits zero, but the scales are.
    return;
  }
  // The largest group's scale lies at -128; d may have either sign.
  float d = -most / 128;
  const auto to_f16 = [](float v) {
    return static_cast<uint16_t>(PositiveF16(std::fabs(v)) | (std::signbit(v) ? 0x8000 : 0));
  };
  uint16_t d16 = to_f16(d);
  d = F32FromF16(d16);
  SixGroup groups[kSixGroups];
  for (int g = 0; g < kSixGroups; ++g) groups[g].scale = static_cast<int>(Clamp(std::round(fits[g] / d), -128, 127));
  for (int round = 0; round < kRounds; ++round) {
    double aa = 0, xa = 0;
    for (int g = 0; g < kSixGroups; ++g) {
      ChooseSix(x + g * kSixGroup, w + g * kSixGroup, d, groups[g]);
      for (int i = 0; i < kSixGroup; ++i) {
        const double a = static_cast<double>(groups[g].q[i]) * groups[g].scale, weight = w[g * kSixGroup + i];
        aa += weight * a * a;
        xa += weight * a * x[g * kSixGroup + i];
      }
    }
    if (round + 1 == kRounds || !(aa > 0) || xa == 0) break;
    d16 = to_f16(static_cast<float>(xa / aa));
    d = F32FromF16(d16);
  }
  for (int g = 0; g < kSuper / kGroup; ++g) {
    QuantGroup out;
    out.d = d16;
    for (int half = 0; half < 2; ++half) {
      const SixGroup& group = groups[2 * g + half];
      out.sub_scale[half] = static_cast<uint8_t>(static_cast<int8_t>(group.scale));
      for (int i = 0; i < kSixGroup; ++i) out.q[half * kSixGroup + i] = static_cast<uint8_t>(group.q[i] + 32.0f);
    }
    EncodeGroup(DType::kQ6_K, out, g, block);
  }
}

}  // namespace

void QuantizeSuperBlock(DType type, const float* x, const float* w, uint8_t* block) {
  if (type == DType::kQ6_K) {
    QuantizeSix(x, w, block);
  } else {
    QuantizeAffine(type, x, w, block);
  }
}

}  // namespace linnet::kernels::quantize_internal
