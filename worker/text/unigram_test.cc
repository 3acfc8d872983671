#include "worker/text/unigram.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using Ids = std::vector<TokenId>;

// Pieces with the ids 0, 1, 2, ... .
Ids Encode(const std::vector<std::pair<std::string_view, double>>& pieces, const Unigram::Options& options,
           std::string_view text) {
  std::vector<std::pair<std::string_view, TokenId>> texts;
  std::vector<double> scores;
  for (const auto& [piece, score] : pieces) {
    texts.emplace_back(piece, static_cast<TokenId>(texts.size()));
    scores.push_back(score);
  }
  Ids ids;
  Unigram(std::move(texts), std::move(scores), options).Encode(text, ids);
  return ids;
}

TEST(UnigramTest, TakesTheCutOfTheBestSum) {
  const std::vector<std::pair<std::string_view, double>> pieces = {{"a", -1},    {"b", -1},    {"c", -1},
                                                                   {"ab", -1.5}, {"bc", -1.2}, {"abc", -3}};
  EXPECT_THAT(Encode(pieces, {}, "abc"), ElementsAre(0, 4));  // -2.2, before -2.5 and -3
  EXPECT_THAT(Encode(pieces, {}, "ab"), ElementsAre(3));
  EXPECT_THAT(Encode(pieces, {}, ""), ElementsAre());
}

TEST(UnigramTest, UnknownCharactersNextToOneAnotherAreOneToken) {
  const std::vector<std::pair<std::string_view, double>> pieces = {{"a", -1}, {"b", -2}};
  const Unigram::Options options{.unknown = 9, .unknown_score = -12};
  EXPECT_THAT(Encode(pieces, options, "xya\xC3\xA9z"), ElementsAre(9, 0, 9));
  EXPECT_THAT(Encode(pieces, {.unknown_score = -12}, "xya"), ElementsAre(0));
}

TEST(UnigramTest, BytesStandForTheUnknownWhereAllHaveTokens) {
  Unigram::Options options{.unknown = 9, .unknown_score = -12};
  options.token_of_byte[0xC3] = 20;
  options.token_of_byte[0xA9] = 21;
  EXPECT_THAT(Encode({{"a", -1}}, options,
                     "\xC3\xA9"
                     "a"),
              ElementsAre(20, 21, 0));
  EXPECT_THAT(Encode({{"a", -1}}, options,
                     "\xC3\xA8"
                     "a"),
              ElementsAre(9, 0));
}

TEST(UnigramTest, TimeGrowsWithTheTextAndThePiecesLengthAlone) {
  std::vector<std::string> runs;
  std::vector<std::pair<std::string_view, double>> pieces;
  for (size_t n = 1; n <= Unigram::kMaxPieceBytes; ++n) runs.emplace_back(n, 'a');
  for (const std::string& run : runs) pieces.emplace_back(run, -static_cast<double>(run.size()));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(Encode(pieces, {}, std::string(20'000, 'a')), SizeIs(20));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));  // 100 ms; sanitizers
}

}  // namespace
}  // namespace linnet::worker
