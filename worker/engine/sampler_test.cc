#include "worker/engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <vector>

#include "base/error.h"
#include "worker/engine/philox.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Philox, KnownAnswers) {
  // From the authors' distribution (Random123, kat_vectors).
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

// How often each token comes over many positions.
std::map<TokenId, int> Draw(const std::vector<float>& logits, SamplingParams params, int times) {
  std::map<TokenId, int> counts;
  for (int position = 0; position < times; ++position) {
    std::vector<float> copy = logits;
    ++counts[SampleToken(copy, params, position)];
  }
  return counts;
}

// Probabilities 0.5, 0.25, 0.15, 0.1 of tokens 2, 0, 3, 1.
std::vector<float> FourLogits() { return {std::log(0.25f), std::log(0.1f), std::log(0.5f), std::log(0.15f)}; }

TEST(Sampler, GreedyTakesTheFirstOfEquals) {
  std::vector<float> logits = {1, 3, 3, 2};
  EXPECT_EQ(SampleToken(logits, {.temperature = 0}, 0), 1);
}

TEST(Sampler, DrawsEachTokenAsOftenAsItsProbability) {
  constexpr int kTimes = 40000;
  auto counts = Draw(FourLogits(), {.temperature = 1, .seed = 7}, kTimes);
  // Four standard deviations: 4 * sqrt(0.25 * 40000) = 400.
  EXPECT_NEAR(counts[2], 0.5 * kTimes, 400);
  EXPECT_NEAR(counts[0], 0.25 * kTimes, 400);
  EXPECT_NEAR(counts[3], 0.15 * kTimes, 400);
  EXPECT_NEAR(counts[1], 0.1 * kTimes, 400);
}

TEST(Sampler, TemperatureSharpens) {
  constexpr int kTimes = 20000;
  auto counts = Draw(FourLogits(), {.temperature = 0.5f, .seed = 7}, kTimes);
  const double sum = 0.25 + 0.0625 + 0.0225 + 0.01;
  EXPECT_NEAR(counts[2], 0.25 / sum * kTimes, 300);
  EXPECT_NEAR(counts[1], 0.01 / sum * kTimes, 150);
}

TEST(Sampler, TopKKeepsTheBest) {
  auto counts = Draw(FourLogits(), {.temperature = 1, .top_k = 2, .seed = 1}, 9000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts[2], 6000, 200);
  EXPECT_NEAR(counts[0], 3000, 200);
}

TEST(Sampler, TopPKeepsTheTokenThatCrossesTheLimit) {
  EXPECT_EQ(Draw(FourLogits(), {.temperature = 1, .top_p = 0.45f}, 200).size(), 1u);
  EXPECT_EQ(Draw(FourLogits(), {.temperature = 1, .top_p = 0.6f}, 200).size(), 2u);
  EXPECT_EQ(Draw(FourLogits(), {.temperature = 1, .top_p = 0.8f}, 400).size(), 3u);
}

TEST(Sampler, TopPFindsItsTokensInALargeVocabulary) {
  // 5000 equal tokens: half of the probability is half of the tokens.
  std::vector<float> logits(5000, 1.0f);
  for (const auto& [id, count] : Draw(logits, {.temperature = 1, .top_p = 0.5f, .seed = 3}, 2000)) {
    ASSERT_LT(id, 2500) << "of equals the lower ids are kept";
  }
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  auto counts = Draw(FourLogits(), {.temperature = 1, .min_p = 0.29f}, 500);
  EXPECT_EQ(counts.size(), 3u) << "0.1 / 0.5 is below, 0.15 / 0.5 is not";
  EXPECT_FALSE(counts.contains(1));
}

TEST(Sampler, ForbiddenTokensNeverCome) {
  std::vector<float> logits = FourLogits();
  logits[2] = -std::numeric_limits<float>::infinity();
  EXPECT_FALSE(Draw(logits, {.temperature = 5}, 500).contains(2));
}

TEST(Sampler, ALargeVocabularyIsDrawnFromEverywhere) {
  // Over several blocks of sums; two tokens have nearly all of the probability.
  std::vector<float> logits(20000, -30.0f);
  logits[1] = 0;
  logits[19999] = std::log(3.0f);
  const auto counts = Draw(logits, {.temperature = 1, .seed = 5}, 8000);
  EXPECT_NEAR(counts.at(1), 2000, 160);
  EXPECT_NEAR(counts.at(19999), 6000, 160);
}

TEST(Sampler, AmongTheBestAsAmongAll) {
  // What the output layer gives for a small top_k leads to the tokens that all logits lead to.
  std::vector<float> logits;
  for (int i = 0; i < 500; ++i) logits.push_back(static_cast<float>((i * 7919) % 500) * 0.01f);
  std::vector<ScoredToken> sorted;
  for (int i = 0; i < 500; ++i) sorted.push_back({.value = logits[static_cast<size_t>(i)], .index = i});
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.Before(b); });
  for (const SamplingParams& params : {SamplingParams{.temperature = 0},
                                       {.temperature = 0.5f, .top_k = 40, .seed = 2},
                                       {.temperature = 1, .top_k = 7, .top_p = 0.5f, .seed = 3},
                                       {.temperature = 2, .top_k = 64, .min_p = 0.9f, .seed = 4}}) {
    const int32_t count = TokensToChooseFrom(params);
    ASSERT_GT(count, 0);
    for (int position = 0; position < 100; ++position) {
      std::vector<float> all = logits;
      EXPECT_EQ(SampleToken(std::span(sorted).first(static_cast<size_t>(count)), params, position),
                SampleToken(all, params, position));
    }
  }
  EXPECT_EQ(TokensToChooseFrom({.temperature = 1}), 0);
  EXPECT_EQ(TokensToChooseFrom({.temperature = 1, .top_k = 1000}), 0);
}

TEST(Sampler, LogitsThatAreNoNumbersGiveNoToken) {
  const std::vector<float> none(100, std::nanf("")), forbidden(100, -INFINITY);
  std::vector<float> infinite(100, 1.0f);
  infinite[50] = INFINITY;
  for (const std::vector<float>& logits : {none, forbidden, infinite}) {
    for (const SamplingParams& params : {SamplingParams{.temperature = 0}, {.temperature = 1}, {.top_p = 0.5f}}) {
      std::vector<float> copy = logits;
      EXPECT_EQ(SampleToken(copy, params, 0), kNoToken);
    }
  }
  EXPECT_EQ(SampleToken(std::span<const ScoredToken>(), {.temperature = 0}, 0), kNoToken);
  const ScoredToken best[] = {{.value = INFINITY, .index = 50}, {.value = 1, .index = 0}};
  EXPECT_EQ(SampleToken(best, {.temperature = 1, .top_k = 2}, 0), kNoToken);
}

TEST(Sampler, SameSeedAndPositionSameToken) {
  const std::vector<float> logits(1000, 0.0f);
  std::vector<TokenId> first, again, other;
  for (int position = 0; position < 50; ++position) {
    std::vector<float> a = logits, b = logits, c = logits;
    first.push_back(SampleToken(a, {.seed = 11}, position));
    again.push_back(SampleToken(b, {.seed = 11}, position));
    other.push_back(SampleToken(c, {.seed = 12}, position));
  }
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

TEST(Sampler, NamesEveryBadField) {
  EXPECT_TRUE(ValidateSampling({}).ok());
  const absl::Status status = ValidateSampling({.temperature = -1, .top_p = 0, .min_p = std::nanf("")});
  EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD");
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("sampling.temperature"));
  EXPECT_THAT(message, HasSubstr("sampling.top_p"));
  EXPECT_THAT(message, HasSubstr("sampling.min_p"));
}

}  // namespace
}  // namespace linnet::worker
