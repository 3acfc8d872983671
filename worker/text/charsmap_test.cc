#include "worker/text/charsmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

#include "absl/strings/escaping.h"
#include "worker/text/test_support.h"

namespace linnet::worker {
namespace {

using ::testing::HasSubstr;

std::string Blob(const std::vector<uint32_t>& units, const std::string& replacements) {
  const auto bytes = static_cast<uint32_t>(units.size() * 4);
  std::string out(reinterpret_cast<const char*>(&bytes), 4);
  out.append(reinterpret_cast<const char*>(units.data()), bytes);
  return out + replacements;
}

// A double-array trie that holds "a" -> 0 and "ab" -> 2, put together by hand: a unit's offset leads, by exclusive or
// with a byte, to the unit of that byte, and by nothing to that of the value.
std::vector<uint32_t> Units() {
  std::vector<uint32_t> units(512, 0);
  const auto offset = [](uint32_t value) { return value << 10; };
  constexpr uint32_t kHasLeaf = 1u << 8, kValue = 1u << 31;
  units[0] = offset(256);                         // root
  units[256 ^ 'a'] = offset(1) | kHasLeaf | 'a';  // its children stand at (256 ^ 'a') ^ 1
  const uint32_t a = (256 ^ 'a') ^ 1;
  units[a] = kValue | 0;
  units[a ^ 'b'] = offset(128) | kHasLeaf | 'b';
  units[(a ^ 'b') ^ 128] = kValue | 2;
  return units;
}

TEST(CharsmapTest, RulesAreFoundByTheBeginningOfAText) {
  const absl::StatusOr<Charsmap> map = Charsmap::Parse(Blob(Units(), std::string("x\0yz\0", 5)));
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_EQ(map->Shortest("abc")->replacement, "x");
  EXPECT_EQ(map->Shortest("abc")->bytes, 1u);
  EXPECT_EQ(map->Longest("abc")->replacement, "yz");
  EXPECT_EQ(map->Longest("abc")->bytes, 2u);
  EXPECT_EQ(map->Longest("ac")->replacement, "x");
  EXPECT_FALSE(map->Longest("ba").has_value());
  EXPECT_FALSE(map->Longest("").has_value());
  EXPECT_FALSE(Charsmap::Parse("")->Longest("a").has_value());
}

TEST(CharsmapTest, WhatIsNoCharsmapIsRefused) {
  EXPECT_THAT(std::string(Charsmap::Parse("abc").status().message()), HasSubstr("header"));
  EXPECT_THAT(std::string(Charsmap::Parse(std::string("\x08\0\0\0abcd", 8)).status().message()), HasSubstr("8 bytes"));
  EXPECT_FALSE(Charsmap::Parse(std::string(4, '\0')).ok());
}

TEST(CharsmapTest, ATrieOfAnythingIsSafe) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint32_t> units(300);
    for (uint32_t& unit : units) unit = static_cast<uint32_t>(random()) & (round % 2 == 0 ? 0x0003FFFF : 0xFFFFFFFF);
    const absl::StatusOr<Charsmap> map = Charsmap::Parse(Blob(units, "no end"));
    ASSERT_TRUE(map.ok());
    std::string text;
    for (int i = 0; i < 300; ++i) text += static_cast<char>(random() % 256);
    for (size_t at = 0; at < text.size(); ++at) {
      map->Longest(std::string_view(text).substr(at));
      map->Shortest(std::string_view(text).substr(at));
    }
  }
}

}  // namespace
}  // namespace linnet::worker
