#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <tuple>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "kernels/float16.h"
#include "kernels/kernel_test_data.h"

namespace linnet::kernels {
namespace {

using testing::kQuantTypes;
using testing::RandomFloats;

std::vector<float> RoundTrip(DType type, const std::vector<float>& x, const float* importance = nullptr) {
  const auto cols = static_cast<int64_t>(x.size());
  std::vector<uint8_t> stored(static_cast<size_t>(BytesFor(type, cols)), 0xAA);
  const absl::Status status = QuantizeRow(type, {.x = x.data(), .cols = cols, .importance = importance}, stored.data());
  EXPECT_TRUE(status.ok()) << status;
  std::vector<float> back(x.size(), NAN);
  Dequantize(type, stored.data(), cols, back.data());
  return back;
}

double SquaredError(const std::vector<float>& a, const std::vector<float>& b, size_t begin = 0,
                    size_t end = std::numeric_limits<size_t>::max(), size_t step = 1) {
  double sum = 0;
  for (size_t i = begin; i < std::min(end, a.size()); i += step) sum += std::pow(double{a[i]} - b[i], 2);
  return sum;
}

double RelativeError(const std::vector<float>& x, const std::vector<float>& back) {
  return std::sqrt(SquaredError(x, back) / SquaredError(x, std::vector<float>(x.size())));
}

absl::Status Quantized(DType type, const std::vector<float>& x) {
  std::vector<uint8_t> stored(static_cast<size_t>(BytesFor(type, static_cast<int64_t>(x.size()))));
  return QuantizeRow(type, {.x = x.data(), .cols = static_cast<int64_t>(x.size())}, stored.data());
}

class QuantizeFormat : public ::testing::TestWithParam<DType> {
 protected:
  const DType type_ = GetParam();
  // The finest step of a symmetric format that just covers [-1, 1].
  double Step() const { return 2.0 / (1 << Traits(type_).bits); }
};
INSTANTIATE_TEST_SUITE_P(Formats, QuantizeFormat, ::testing::ValuesIn(kQuantTypes),
                         [](const auto& info) { return std::string(Info(info.param).name); });

TEST_P(QuantizeFormat, EncodingIsTheReverseOfDecoding) {
  std::mt19937 random(1);
  const QuantTraits& traits = Traits(type_);
  const DTypeInfo& info = Info(type_);
  constexpr int kBlocks = 5;
  const int groups = kBlocks * info.block_elements / kGroup;
  std::vector<uint8_t> row(static_cast<size_t>(kBlocks * info.block_bytes));
  std::vector<QuantGroup> wrote(static_cast<size_t>(groups));
  for (int g = 0; g < groups; ++g) {
    QuantGroup& group = wrote[static_cast<size_t>(g)];
    for (uint8_t& q : group.q) q = static_cast<uint8_t>(random() % (1u << traits.bits));
    const int first = g / (info.block_elements / kGroup) * (info.block_elements / kGroup);
    group.d = g == first ? static_cast<uint16_t>(random() & 0x3fff) : wrote[static_cast<size_t>(first)].d;
    if (traits.has_min) {
      group.m = g == first ? static_cast<uint16_t>(random() & 0x3fff) : wrote[static_cast<size_t>(first)].m;
    }
    if (traits.super) {
      const unsigned range = type_ == DType::kQ6_K ? 256 : 64;
      for (int s = 0; s < traits.scales_per_group; ++s) group.sub_scale[s] = static_cast<uint8_t>(random() % range);
      if (traits.has_min) group.sub_min = static_cast<uint8_t>(random() % 64);
    }
    EncodeGroup(type_, group, g, row.data());
  }
  for (int g = 0; g < groups; ++g) {
    QuantGroup read;
    DecodeGroup(type_, row.data(), g, read);
    const QuantGroup& group = wrote[static_cast<size_t>(g)];
    EXPECT_EQ(std::memcmp(read.q, group.q, sizeof(read.q)), 0) << "group " << g;
    EXPECT_EQ(read.d, group.d);
    EXPECT_EQ(read.m, group.m);
    EXPECT_EQ(read.sub_scale[0], group.sub_scale[0]);
    EXPECT_EQ(read.sub_scale[1], group.sub_scale[1]);
    EXPECT_EQ(read.sub_min, group.sub_min);
  }
}

// Of normally distributed weights, in percent; a step larger than that is a quantizer that lost its search.
TEST_P(QuantizeFormat, ErrorOfNormalWeightsIsSmall) {
  const std::map<DType, double> most = {{DType::kQ4_0, 8.3}, {DType::kQ4_1, 7.4},  {DType::kQ5_0, 4.2},
                                        {DType::kQ5_1, 3.7}, {DType::kQ8_0, 0.52}, {DType::kQ4_K, 7.6},
                                        {DType::kQ5_K, 3.8}, {DType::kQ6_K, 1.9}};
  std::mt19937 random(2);
  const std::vector<float> x = RandomFloats(64 * 256, random, 0.03f);
  const double error = 100 * RelativeError(x, RoundTrip(type_, x));
  RecordProperty("relative_error_percent", std::to_string(error));
  std::printf("%s: relative error %.3f %%\n", std::string(Info(type_).name).c_str(), error);
  EXPECT_LE(error, most.at(type_));
  EXPECT_GT(error, 0.1);
}

// What a quantizer does that only covers each group: the error must be well below that.
TEST_P(QuantizeFormat, SearchBeatsTheCoveringScale) {
  if (Traits(type_).super) return;  // their groups have no scale of their own
  std::mt19937 random(3);
  const std::vector<float> x = RandomFloats(64 * 256, random, 0.03f);
  const QuantTraits& traits = Traits(type_);
  const float levels = static_cast<float>((1 << traits.bits) - 1);
  std::vector<float> covered(x.size());
  for (size_t g = 0; g < x.size(); g += kGroup) {
    float low = 0, high = 0;
    for (size_t i = g; i < g + kGroup; ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
    if (!traits.has_min) high = std::max(high, -low), low = -high;
    const float scale = F32FromF16(F16FromF32((high - low) / levels));
    for (size_t i = g; i < g + kGroup; ++i) covered[i] = low + scale * std::round((x[i] - low) / scale);
  }
  EXPECT_LE(SquaredError(x, RoundTrip(type_, x)), 0.9 * SquaredError(x, covered));
}

TEST_P(QuantizeFormat, ZerosStayZero) {
  for (const float v : RoundTrip(type_, std::vector<float>(512, 0.0f))) ASSERT_EQ(v, 0);
  std::vector<float> x(512, -0.0f);
  x[300] = 1;  // in another group
  const std::vector<float> back = RoundTrip(type_, x);
  for (size_t i = 0; i < 256; ++i) ASSERT_EQ(back[i], 0);
  EXPECT_NEAR(back[300], 1, Step());
}

TEST_P(QuantizeFormat, ConstantsAreKept) {
  for (const float c : {1.0f, -1.0f, 0.37f, -123.0f}) {
    for (const float v : RoundTrip(type_, std::vector<float>(256, c))) ASSERT_NEAR(v, c, 0.004 * std::abs(c));
  }
}

// Weights that a format can hold exactly come back exactly.
TEST_P(QuantizeFormat, WhatWasQuantizedOnceStays) {
  if (Traits(type_).super) return;  // there are many ways to write the same weights, and not all are found
  std::mt19937 random(4);
  const std::vector<float> once = RoundTrip(type_, RandomFloats(4096, random));
  const std::vector<float> twice = RoundTrip(type_, once);
  EXPECT_LE(RelativeError(once, twice), 0.003);
}

TEST_P(QuantizeFormat, ExtremeMagnitudesStayFinite) {
  std::mt19937 random(5);
  for (const float scale : {1e-30f, 1e-9f, 1e-6f, 1e-4f, 1.0f, 3000.0f, LargestMagnitude(type_) / 5.5f}) {
    const std::vector<float> x = RandomFloats(1024, random, 1.0f);
    std::vector<float> scaled(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      scaled[i] = std::clamp(x[i] * scale, -LargestMagnitude(type_), LargestMagnitude(type_));
    }
    const std::vector<float> back = RoundTrip(type_, scaled);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(std::isfinite(back[i])) << scale;
    if (scale >= 1e-4f) {
      EXPECT_LE(RelativeError(scaled, back), 0.1) << scale;
    } else {
      EXPECT_LE(RelativeError(scaled, back), 1.5) << scale;  // near the smallest 16-bit scale: coarse, never wild
    }
  }
  std::vector<float> outlier = RandomFloats(256, random, 1e-3f);
  outlier[17] = LargestMagnitude(type_);
  EXPECT_NEAR(RoundTrip(type_, outlier)[17] / outlier[17], 1, Step());
  std::vector<float> subnormal(256, std::numeric_limits<float>::denorm_min());
  for (const float v : RoundTrip(type_, subnormal)) ASSERT_LE(std::abs(v), 1e-6f);
}

TEST_P(QuantizeFormat, NotANumberIsRefusedByElement) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x(512, 0.5f);
    x[301] = bad;
    const absl::Status status = Quantized(type_, x);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), "element 301")) << status;
  }
  std::vector<float> x(256, 0.5f);
  x[2] = LargestMagnitude(type_) * 1.01f;
  EXPECT_TRUE(absl::StrContains(Quantized(type_, x).message(), "element 2")) << Quantized(type_, x);
  EXPECT_TRUE(absl::StrContains(Quantized(type_, x).message(), "magnitudes up to"));
}

TEST_P(QuantizeFormat, ImportantColumnsAreKeptBetter) {
  std::mt19937 random(6);
  const std::vector<float> x = RandomFloats(64 * 256, random);
  std::vector<double> mean_squares(x.size(), 1.0);
  for (size_t i = 0; i < x.size(); i += 8) mean_squares[i] = 100;
  const std::vector<float> importance = ImportanceFrom(mean_squares);
  const std::vector<float> plain = RoundTrip(type_, x), weighted = RoundTrip(type_, x, importance.data());
  EXPECT_LT(SquaredError(x, weighted, 0, x.size(), 8), 0.8 * SquaredError(x, plain, 0, x.size(), 8));
  EXPECT_LT(RelativeError(x, weighted), 2 * RelativeError(x, plain));
}

// A search that the quantizer must not lose against: every scale in steps of a thousandth.
TEST(Quantize, FindsNearlyTheBestScale) {
  std::mt19937 random(7);
  double ours = 0, best = 0;
  for (int group = 0; group < 100; ++group) {
    const std::vector<float> x = RandomFloats(kGroup, random);
    ours += SquaredError(x, RoundTrip(DType::kQ4_0, x));
    float most = 0;
    for (const float v : x) most = std::max(most, std::abs(v));
    double least = INFINITY;
    for (int step = -2000; step <= 2000; ++step) {
      const float scale = F32FromF16(F16FromF32(most / 8 * 1.5f * static_cast<float>(step) / 2000));
      if (scale == 0) continue;
      double error = 0;
      for (const float v : x) error += std::pow(double{v} - scale * std::clamp(std::round(v / scale), -8.0f, 7.0f), 2);
      least = std::min(least, error);
    }
    best += least;
  }
  std::printf("Q4_0: error %.4f of the best possible\n", ours / best);
  EXPECT_LE(ours, 1.03 * best);
}

// Wide groups: one scale for 64 columns, or for a row; the file stays one of ordinary blocks.
TEST(Quantize, BlocksMayShareAScale) {
  std::mt19937 random(8);
  const int64_t cols = 32 * 19;  // the last group of 64 is half a one
  const std::vector<float> x = RandomFloats(cols, random);
  for (const auto& [type, shared, most] : {std::tuple(DType::kQ4_0, int64_t{64}, 0.093),
                                           std::tuple(DType::kQ8_0, std::numeric_limits<int64_t>::max(), 0.009)}) {
    std::vector<uint8_t> stored(static_cast<size_t>(BytesFor(type, cols)));
    ASSERT_TRUE(QuantizeRow(type, {.x = x.data(), .cols = cols, .columns_per_scale = shared}, stored.data()).ok());
    for (int64_t g = 0; g < cols / kGroup; ++g) {
      QuantGroup group, first;
      DecodeGroup(type, stored.data(), g, group);
      DecodeGroup(type, stored.data(), shared == 64 ? g / 2 * 2 : 0, first);
      EXPECT_EQ(group.d, first.d) << "group " << g;
    }
    std::vector<float> back(x.size());
    Dequantize(type, stored.data(), cols, back.data());
    const double error = RelativeError(x, back);
    std::printf("%s with a scale for several blocks: relative error %.3f %%\n", std::string(Info(type).name).c_str(),
                100 * error);
    EXPECT_LE(error, most);
    EXPECT_GE(error, RelativeError(x, RoundTrip(type, x)));
  }
}

// One weight far from the others is cut off where that costs less than coarse levels for all.
TEST(Quantize, AnOutlierDoesNotCoarsenItsRow) {
  std::mt19937 random(9);
  std::vector<float> x = RandomFloats(1024, random);
  x[100] = 8;
  std::vector<uint8_t> stored(static_cast<size_t>(BytesFor(DType::kQ8_0, 1024)));
  std::vector<float> back(x.size());
  ASSERT_TRUE(QuantizeRow(DType::kQ8_0, {.x = x.data(), .cols = 1024, .columns_per_scale = 1024}, stored.data()).ok());
  Dequantize(DType::kQ8_0, stored.data(), 1024, back.data());
  const float step = 8.0f / 127;  // of the scale that covers it
  EXPECT_LT(SquaredError(x, back), 1024 * step * step / 12);
}

TEST(Quantize, PlainTypesRoundToNearest) {
  const std::vector<float> x = {1.0f, -2.5f, 65504.0f, 1e-8f, 0x1.004p0f, 0x1.01p0f};
  EXPECT_EQ(RoundTrip(DType::kF32, x), x);
  EXPECT_EQ(RoundTrip(DType::kF16, {1.0f, -65504.0f, 0.333251953125f}),
            (std::vector<float>{1.0f, -65504.0f, 0.333251953125f}));
  // bf16 has 8 bits: halfway goes to even.
  EXPECT_EQ(RoundTrip(DType::kBF16, {1.0f, 0x1.01p0f, 0x1.03p0f, -3e38f}),
            (std::vector<float>{1.0f, 1.0f, 0x1.04p0f, F32FromBf16(0xff62)}));
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    EXPECT_TRUE(absl::StrContains(Quantized(type, {1, NAN}).message(), "element 1"));
  }
  EXPECT_FALSE(Quantized(DType::kF16, {70000.0f}).ok());
  EXPECT_TRUE(Quantized(DType::kBF16, {70000.0f}).ok());
}

TEST(Quantize, ImportancesArePositiveWhateverTheActivations) {
  for (const float w : ImportanceFrom(std::vector<double>{0, 0, 0})) EXPECT_EQ(w, 1);
  const std::vector<float> w = ImportanceFrom(std::vector<double>{0, 1e9, 3, 1e-300});
  for (const float v : w) EXPECT_GT(v, 0);
  EXPECT_GT(w[1], w[2]);
}

}  // namespace
}  // namespace linnet::kernels
