#include "worker/checkpoint/tiktoken_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string File(const std::vector<std::string>& tokens) {
  std::string text;
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    base::StrAppend(&text, absl::Base64Escape(tokens[rank]), " ", rank, "\n");
  }
  return text;
}

TEST(ParseTiktoken, FindsTheTwoPartsOfEachToken) {
  const TiktokenRanks ranks = *ParseTiktoken(File({"a", "b", " ", "bb", "ab", "abb", " abb", "\xff", "\xff\xff"}), "x");
  // abb is reached by a + bb, since bb is better than ab.
  EXPECT_THAT(ranks.merges, ElementsAre("b b", "a b", "a bb", "\u0120 abb", "\u00ff \u00ff"));
  EXPECT_EQ(ranks.tokens[6], "\u0120abb");
  EXPECT_EQ(ranks.tokens[7], "\u00ff");
}

TEST(ParseTiktoken, ATokenThatNothingLeadsToHasNoMerge) {
  EXPECT_THAT((*ParseTiktoken(File({"a", "b", "c", "abc"}), "x")).merges, ElementsAre());
}

TEST(ParseTiktoken, NamesTheLineThatIsWrong) {
  const auto complaint = [](std::string_view text) {
    return std::string(ParseTiktoken(text, "qwen.tiktoken").status().message());
  };
  EXPECT_THAT(complaint("YQ== 0\nYg==\n"), HasSubstr("qwen.tiktoken cannot be used: line 2 is no token in base64"));
  EXPECT_THAT(complaint("Y! 0"), HasSubstr("line 1 is no token"));
  EXPECT_THAT(complaint("YQ== 0\nYg== 2"), HasSubstr("line 2 has a rank that is not the next one"));
  EXPECT_THAT(complaint("YQ== 0\nYQ== 1"), HasSubstr("line 2 has a token that was there before"));
  EXPECT_THAT(complaint(" 0"), HasSubstr("empty or too long"));
}

}  // namespace
}  // namespace linnet::worker
