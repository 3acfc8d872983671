#include "worker/model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace linnet::worker {
namespace {

TEST(Rope, FrequenciesFallGeometrically) {
  const kernels::RopeTable table = MakeRopeTable({.rotary_dim = 64, .theta = 10000.0});
  ASSERT_EQ(table.inv_freq.size(), 32u);
  EXPECT_FLOAT_EQ(table.inv_freq[0], 1.0f);
  EXPECT_NEAR(table.inv_freq[16], 0.01f, 1e-8);
  EXPECT_NEAR(table.inv_freq[31], std::pow(10000.0, -62.0 / 64), 1e-10);
}

TEST(Rope, LinearScalingDividesAll) {
  const RopeDescription plain = {.rotary_dim = 8, .theta = 500.0};
  RopeDescription scaled = plain;
  scaled.scaling = RopeScaling::kLinear;
  scaled.factor = 4;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(MakeRopeTable(scaled).inv_freq[i], MakeRopeTable(plain).inv_freq[i] / 4);
  }
}

TEST(Rope, FactorsDivideEachFrequency) {
  const RopeDescription plain = {.rotary_dim = 8};
  const RopeDescription scaled = {.rotary_dim = 8, .scaling = RopeScaling::kFactors, .factors = {1, 2, 5, 8}};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(MakeRopeTable(scaled).inv_freq[i], MakeRopeTable(plain).inv_freq[i] / scaled.factors[i]);
  }
}

TEST(Rope, YarnDividesLongWavelengthsOnly) {
  const RopeDescription plain = {.rotary_dim = 64, .theta = 10000.0};
  RopeDescription yarn = plain;
  yarn.scaling = RopeScaling::kYarn;
  yarn.factor = 4;
  yarn.original_context_tokens = 4096;
  const kernels::RopeTable scaled = MakeRopeTable(yarn), unscaled = MakeRopeTable(plain);
  // 32 rotations in 4096 tokens are dimension 10.4, one is 22.5.
  for (size_t i = 0; i <= 10; ++i) EXPECT_FLOAT_EQ(scaled.inv_freq[i], unscaled.inv_freq[i]);
  for (size_t i = 23; i < 32; ++i) EXPECT_FLOAT_EQ(scaled.inv_freq[i], unscaled.inv_freq[i] / 4);
  EXPECT_LT(scaled.inv_freq[16], unscaled.inv_freq[16]);
  EXPECT_GT(scaled.inv_freq[16], unscaled.inv_freq[16] / 4);
}

TEST(Rope, LongFactorsBeginBeyondTheOriginalContext) {
  const RopeDescription rope = {.rotary_dim = 4,
                                .theta = 100.0,
                                .scaling = RopeScaling::kLongRope,
                                .original_context_tokens = 100,
                                .factors = {1, 2},
                                .long_factors = {4, 8},
                                .magnitude = 1.5f};
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 100).inv_freq[1], 0.1f / 2);
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 101).inv_freq[1], 0.1f / 8);
  EXPECT_EQ(MakeRopeTable(rope, 1).magnitude, 1.5f);
}

TEST(Rope, DynamicThetaGrowsWithTheLength) {
  RopeDescription rope = {.rotary_dim = 4,
                          .theta = 100.0,
                          .scaling = RopeScaling::kDynamicNtk,
                          .factor = 2,
                          .original_context_tokens = 100};
  // theta · stretch^(4 / 2), and the second frequency is 1 / sqrt(theta).
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 100).inv_freq[1], 0.1f);
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 150).inv_freq[1], 0.1f / 2);
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 200).inv_freq[1], 0.1f / 3);
  rope.scaling = RopeScaling::kDynamicDoubling;
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 100).inv_freq[1], 0.1f);
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 101).inv_freq[1], 0.1f / 3);
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 200).inv_freq[1], 0.1f / 3);
  EXPECT_FLOAT_EQ(MakeRopeTable(rope, 201).inv_freq[1], 0.1f / 7);
}

}  // namespace
}  // namespace linnet::worker
