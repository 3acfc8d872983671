#include "worker/text/utf8.h"

#include <gtest/gtest.h>

namespace linnet::worker {
namespace {

constexpr char kR[] = "\xEF\xBF\xBD";

std::string Rs(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += kR;
  return text;
}

TEST(Utf8Test, WellFormedTextStays) {
  constexpr char kText[] =
      "a\0 \x7F \xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF \xF0\x90\x80\x80 "
      "\xF4\x8F\xBF\xBF";
  const std::string text(kText, sizeof(kText) - 1);
  EXPECT_EQ(ReplaceBrokenUtf8(text), text);
  EXPECT_EQ(TokenizerUtf8(text), text);
}

TEST(Utf8Test, EachBrokenBeginningIsReplacedOnce) {
  EXPECT_EQ(ReplaceBrokenUtf8("a\x80z"), "a" + Rs(1) + "z");
  EXPECT_EQ(ReplaceBrokenUtf8("\xFF\xFE"), Rs(2));
  EXPECT_EQ(ReplaceBrokenUtf8("\xE2\x82 x"), Rs(1) + " x");
  EXPECT_EQ(ReplaceBrokenUtf8("\xF0\x9F\x98"), Rs(1));
  EXPECT_EQ(ReplaceBrokenUtf8("\xF0\x9F\x98\xE2\x82\xAC"), Rs(1) + "\xE2\x82\xAC");
  EXPECT_EQ(ReplaceBrokenUtf8("\xC0\x80"), Rs(2));          // overlong
  EXPECT_EQ(ReplaceBrokenUtf8("\xED\xA0\x80"), Rs(3));      // surrogate
  EXPECT_EQ(ReplaceBrokenUtf8("\xF4\x90\x80\x80"), Rs(4));  // above U+10FFFF
}

TEST(Utf8Test, TokenizersReplaceBytesAndKeepSurrogates) {
  EXPECT_EQ(TokenizerUtf8("\xF0\x9F\x98"), Rs(3));
  EXPECT_EQ(TokenizerUtf8("\xC1\xBF"), Rs(2));
  EXPECT_EQ(TokenizerUtf8("\xE0\x80\xAF"), Rs(3));
  EXPECT_EQ(TokenizerUtf8("\xED\xA0\x80"), "\xED\xA0\x80");
  EXPECT_EQ(TokenizerUtf8("\xED\xA0"), Rs(2));
  EXPECT_EQ(TokenizerUtf8("\xF4\x90\x80\x80"), Rs(4));
}

TEST(Utf8Test, BeginningsAreWhatMoreBytesCouldComplete) {
  EXPECT_TRUE(IsUtf8Beginning("\xC3", 0));
  EXPECT_TRUE(IsUtf8Beginning("ab\xF0\x9F\x98", 2));
  EXPECT_FALSE(IsUtf8Beginning("\xE2\x28", 0));
  EXPECT_FALSE(IsUtf8Beginning("\xE0\x80", 0));
  EXPECT_FALSE(IsUtf8Beginning("a", 0));
  EXPECT_FALSE(IsUtf8Beginning("\x80", 0));
  EXPECT_FALSE(IsUtf8Beginning("\xC3\xA9", 0));
}

}  // namespace
}  // namespace linnet::worker
