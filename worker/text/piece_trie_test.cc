#include "worker/text/piece_trie.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::vector<std::pair<size_t, TokenId>> Prefixes(const PieceTrie& trie, std::string_view text) {
  std::vector<std::pair<size_t, TokenId>> found;
  trie.ForEachPrefix(text, [&](size_t bytes, TokenId id) { found.emplace_back(bytes, id); });
  return found;
}

TEST(PieceTrieTest, FindsAllBeginningsShortestFirst) {
  const PieceTrie trie({{"abc", 3}, {"a", 1}, {"b", 2}, {std::string_view("a\0", 2), 4}});
  EXPECT_THAT(Prefixes(trie, "abcd"), ElementsAre(Pair(1, 1), Pair(3, 3)));
  EXPECT_THAT(Prefixes(trie, std::string_view("a\0b", 3)), ElementsAre(Pair(1, 1), Pair(2, 4)));
  EXPECT_THAT(Prefixes(trie, "cab"), ElementsAre());
  EXPECT_THAT(Prefixes(trie, ""), ElementsAre());
  EXPECT_EQ(trie.Longest("abcd").id, 3);
  EXPECT_EQ(trie.Longest("x").id, -1);
  EXPECT_TRUE(PieceTrie().empty());
}

TEST(PieceTrieTest, AgreesWithASearchOfAll) {
  std::mt19937 random(1);
  std::map<std::string, TokenId> all;
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (size_t n = 1 + random() % 6; n > 0; --n) text += static_cast<char>("ab\xFF\0z"[random() % 5]);
    all.emplace(text, i);
  }
  const PieceTrie trie(std::vector<std::pair<std::string_view, TokenId>>(all.begin(), all.end()));
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (size_t n = random() % 9; n > 0; --n) text += static_cast<char>("ab\xFF\0z"[random() % 5]);
    std::vector<std::pair<size_t, TokenId>> expected;
    for (size_t n = 1; n <= text.size(); ++n) {
      if (const auto it = all.find(text.substr(0, n)); it != all.end()) expected.emplace_back(n, it->second);
    }
    EXPECT_EQ(Prefixes(trie, text), expected);
  }
}

}  // namespace
}  // namespace linnet::worker
