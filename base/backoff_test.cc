#include "base/backoff.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace linnet::base {
namespace {

const Backoff::Options kOptions = {
    .initial = absl::Milliseconds(100), .max = absl::Seconds(2), .multiplier = 2, .jitter = 0.5};

TEST(Backoff, GrowsUpToTheMaximumWithinItsJitter) {
  Backoff backoff(kOptions, 1);
  absl::Duration nominal = kOptions.initial;
  for (int i = 0; i < 100; ++i) {
    const absl::Duration delay = backoff.Next();
    EXPECT_LE(delay, nominal) << i;
    EXPECT_GE(delay, nominal * 0.5) << i;
    nominal = std::min(kOptions.max, nominal * 2);
  }
  EXPECT_EQ(backoff.attempts(), 100);
}

TEST(Backoff, ResetStartsAgain) {
  Backoff backoff(kOptions, 1);
  for (int i = 0; i < 10; ++i) backoff.Next();
  backoff.Reset();
  EXPECT_EQ(backoff.attempts(), 0);
  EXPECT_LE(backoff.Next(), kOptions.initial);
}

TEST(Backoff, SameSeedSameDelaysOtherSeedOthers) {
  const auto delays = [](uint64_t seed) {
    Backoff backoff(kOptions, seed);
    std::vector<absl::Duration> result;
    for (int i = 0; i < 8; ++i) result.push_back(backoff.Next());
    return result;
  };
  EXPECT_EQ(delays(7), delays(7));
  EXPECT_NE(delays(7), delays(8));
}

TEST(Backoff, WithoutJitterIsExact) {
  Backoff backoff({.initial = absl::Seconds(1), .max = absl::Seconds(5), .multiplier = 3, .jitter = 0}, 1);
  EXPECT_EQ(backoff.Next(), absl::Seconds(1));
  EXPECT_EQ(backoff.Next(), absl::Seconds(3));
  EXPECT_EQ(backoff.Next(), absl::Seconds(5));
  EXPECT_EQ(backoff.Next(), absl::Seconds(5));
}

TEST(Backoff, NonsenseOptionsStayBounded) {
  Backoff backoff({.initial = absl::Seconds(60), .max = absl::Seconds(5), .multiplier = 0.1, .jitter = 7}, 1);
  for (int i = 0; i < 10; ++i) {
    const absl::Duration delay = backoff.Next();
    EXPECT_GE(delay, absl::ZeroDuration());
    EXPECT_LE(delay, absl::Seconds(5));
  }
}

}  // namespace
}  // namespace linnet::base
