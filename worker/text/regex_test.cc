#include "worker/text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> All(std::string_view pattern, std::string_view text) {
  const absl::StatusOr<Regex> regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<Regex::Match> matches;
  EXPECT_TRUE(regex->FindAll(text, matches));
  std::vector<std::string> found;
  for (const Regex::Match& match : matches) found.emplace_back(text.substr(match.begin, match.end - match.begin));
  return found;
}

TEST(RegexTest, MatchesFollowOneAnother) {
  EXPECT_THAT(All("\\p{L}+|\\p{N}", "ab1 \xC3\xA9"), ElementsAre("ab", "1", "\xC3\xA9"));
  EXPECT_THAT(All("x", ""), ElementsAre());
}

TEST(RegexTest, AnEmptyMatchCountsUnlessItIsRightBehindAnother) {
  EXPECT_THAT(All("a*", "baac"), ElementsAre("", "aa", ""));
  EXPECT_THAT(All("(?=\xC3\xA9)", "\xC3\xA9\xC3\xA9"), ElementsAre("", ""));
}

TEST(RegexTest, WhatPcre2DoesNotTakeIsAnError) {
  const absl::Status status = Regex::Compile("a(b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 3"));
  EXPECT_FALSE(Regex::Compile(std::string(1000, '(') + std::string(1000, ')')).ok());
}

TEST(RegexTest, ASearchThatBacktracksWithoutEndIsGivenUp) {
  std::vector<Regex::Match> matches;
  EXPECT_FALSE(Regex::Compile("(?:a+)+[bc]")->FindAll(std::string(100, 'a'), matches));
  EXPECT_THAT(matches, ElementsAre());
}

TEST(RegexTest, StepsAreCounted) {
  const std::vector<std::string> texts = {std::string(1000, 'a') + "c"};
  EXPECT_TRUE(Regex::FindsAllWithin("a+", texts, 100));
  EXPECT_FALSE(Regex::FindsAllWithin("a*b", texts, 10'000));
}

}  // namespace
}  // namespace linnet::worker
