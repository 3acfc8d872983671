#include "kernels/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "kernels/float16.h"
#include "kernels/quantize_fit.h"
#include "kernels/quantize_super.h"

namespace linnet::kernels {
namespace {

using quantize_internal::Affine;
using quantize_internal::FitAffine;
using quantize_internal::FitScale;
using quantize_internal::kSuper;
using quantize_internal::RoundAffine;
using quantize_internal::RoundToScale;
using quantize_internal::Search;

constexpr float kLargestF16 = 65504.0f;
// Scales may come out larger than the one that just covers a group: room for that.
constexpr float kScaleRoom = 32768.0f;

uint16_t Bf16FromF32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

void StoreU16(uint16_t value, uint8_t* at) { std::memcpy(at, &value, sizeof(value)); }

// What an error in each of n weights counts: without calibration, all the same. (Weighting by the magnitude of the
// weights themselves, tried as |x| and x^2 beside their mean, gained nothing for Q4_K and Q6_K models, and for Q4_0 on
// one text but not on another.)
void FillWeights(const float* importance, int n, float* w) {
  if (importance != nullptr) {
    std::memcpy(w, importance, static_cast<size_t>(n) * sizeof(float));
  } else {
    std::fill_n(w, n, 1.0f);
  }
}

// --- formats of groups of 32, each with scales of its own ---------------------------------------------------------

Search SymmetricSearch(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return {.low = -8, .high = 7, .below = 2.0f, .above = 1.0f, .steps = 24};
    case DType::kQ5_0:
      return {.low = -16, .high = 15, .below = 2.5f, .above = 0.8f, .steps = 24};
    default:  // Q8_0: -128 is left out, as other readers' integer products do not all take it
      return {.low = -127, .high = 127, .below = 8.0f, .above = 0.5f, .steps = 32};
  }
}

// With the scale as it is stored.
void RoundSymmetric(DType type, const float* x, uint16_t d, QuantGroup& out) {
  out.d = d;
  float q[kGroup];
  RoundToScale<kGroup>(x, F32FromF16(d), SymmetricSearch(type), q);
  const auto offset = static_cast<float>(Traits(type).offset);
  for (int i = 0; i < kGroup; ++i) out.q[i] = static_cast<uint8_t>(q[i] + offset);
}

void QuantizeAffine(DType type, const float* x, const float* w, QuantGroup& out) {
  const float high = type == DType::kQ5_1 ? 31 : 15;
  const Search search = {.low = 0, .high = high, .below = high > 16 ? 2.0f : 1.5f, .above = 0.8f, .steps = 16};
  const Affine fit = FitAffine<kGroup>(x, w, search, /*min_below_zero=*/false);
  out.d = F16FromF32(fit.scale);
  out.m = F16FromF32(fit.min);
  float q[kGroup];
  RoundAffine<kGroup>(x, w, F32FromF16(out.d), F32FromF16(out.m), high, q);
  for (int i = 0; i < kGroup; ++i) out.q[i] = static_cast<uint8_t>(q[i]);
}

// A scale for several blocks: their largest weight may be worth cutting off.
void QuantizeShared(DType type, const QuantizeInput& input, uint8_t* out) {
  const Search search = type == DType::kQ4_0 ? Search{.low = -8, .high = 7, .below = 2, .above = 3, .steps = 40}
                                             : Search{.low = -127, .high = 127, .below = 4, .above = 80, .steps = 84};
  const std::vector<float> ones(input.importance != nullptr ? 0 : static_cast<size_t>(input.cols), 1.0f);
  const float* w = input.importance != nullptr ? input.importance : ones.data();
  const int64_t shared = std::min(input.columns_per_scale, input.cols);
  for (int64_t begin = 0; begin < input.cols; begin += shared) {
    const int64_t count = std::min(input.cols - begin, shared);
    const uint16_t d = F16FromF32(FitScale<0>(input.x + begin, w + begin, search, count));
    for (int64_t at = begin; at < begin + count; at += kGroup) {
      QuantGroup group;
      RoundSymmetric(type, input.x + at, d, group);
      EncodeGroup(type, group, at / kGroup, out);
    }
  }
}

// --- checks -------------------------------------------------------------------------------------------------------

absl::Status CheckRow(DType type, const QuantizeInput& input) {
  const float most = LargestMagnitude(type);
  // One pass that vectorizes; only a row that fails it is searched.
  bool good = true;
  for (int64_t i = 0; i < input.cols; ++i) good &= std::fabs(input.x[i]) <= most;
  if (good) return absl::OkStatus();
  for (int64_t i = 0; i < input.cols; ++i) {
    const float x = input.x[i];
    if (!std::isfinite(x)) return absl::InvalidArgumentError(absl::StrCat("element ", i, " is ", x));
    if (std::fabs(x) > most) {
      return absl::InvalidArgumentError(absl::StrCat("element ", i, " is ", x, ", and ", std::string(Info(type).name),
                                                     " holds magnitudes up to ", most));
    }
  }
  return absl::OkStatus();
}

void StorePlain(DType type, const QuantizeInput& input, uint8_t* out) {
  switch (type) {
    case DType::kF32:
      std::memcpy(out, input.x, static_cast<size_t>(input.cols) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < input.cols; ++i) StoreU16(F16FromF32(input.x[i]), out + 2 * i);
      return;
    default:
      for (int64_t i = 0; i < input.cols; ++i) StoreU16(Bf16FromF32(input.x[i]), out + 2 * i);
      return;
  }
}

}  // namespace

float LargestMagnitude(DType type) {
  switch (type) {
    case DType::kF32:
      return 0x1.fffffep127f;
    case DType::kBF16:
      return 0x1.fep127f;  // what is above may round to infinity
    case DType::kF16:
    case DType::kQ4_1:
    case DType::kQ5_1:
      return kLargestF16;
    case DType::kQ4_0:
      return kScaleRoom * 7;
    case DType::kQ5_0:
      return kScaleRoom * 15;
    case DType::kQ8_0:
      return kScaleRoom * 127;
    case DType::kQ4_K:
    case DType::kQ5_K:
      return kScaleRoom * 63;
    case DType::kQ6_K:
      return kScaleRoom * 32 * 127;
  }
  return 0;
}

std::vector<float> ImportanceFrom(std::span<const double> mean_squares) {
  double sum = 0;
  for (const double s : mean_squares) sum += s;
  const double mean = mean_squares.empty() ? 0 : sum / static_cast<double>(mean_squares.size());
  std::vector<float> importance(mean_squares.size(), 1.0f);
  if (!(mean > 0) || !std::isfinite(mean)) return importance;
  // A column that the calibration never used still gets weights, only with little effort.
  constexpr double kLeast = 1e-3, kMost = 1e4;
  for (size_t i = 0; i < mean_squares.size(); ++i) {
    importance[i] = static_cast<float>(std::min(kMost, std::max(kLeast, mean_squares[i] / mean)));
  }
  return importance;
}

absl::Status QuantizeRow(DType type, const QuantizeInput& input, uint8_t* out) {
  const DTypeInfo& info = Info(type);
  CHECK_EQ(input.cols % info.block_elements, 0);
  if (absl::Status status = CheckRow(type, input); !status.ok()) return status;
  if (!IsGroupQuantized(type)) {
    StorePlain(type, input, out);
    return absl::OkStatus();
  }
  std::memset(out, 0, static_cast<size_t>(BytesFor(type, input.cols)));
  if (input.columns_per_scale > kGroup) {
    CHECK(type == DType::kQ4_0 || type == DType::kQ8_0) << "only these share scales";
    QuantizeShared(type, input, out);
    return absl::OkStatus();
  }
  float w[kSuper];
  for (int64_t at = 0; at < input.cols; at += info.block_elements) {
    const float* x = input.x + at;
    FillWeights(input.importance != nullptr ? input.importance + at : nullptr, info.block_elements, w);
    const int64_t block = at / info.block_elements;
    if (info.block_elements == kSuper) {
      quantize_internal::QuantizeSuperBlock(type, x, w, out + block * info.block_bytes);
      continue;
    }
    QuantGroup group;
    if (Traits(type).has_min) {
      QuantizeAffine(type, x, w, group);
    } else {
      RoundSymmetric(type, x, F16FromF32(FitScale<kGroup>(x, w, SymmetricSearch(type))), group);
    }
    EncodeGroup(type, group, block, out);
  }
  return absl::OkStatus();
}

}  // namespace linnet::kernels
