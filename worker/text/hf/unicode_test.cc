#include "worker/text/hf/unicode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace linnet::worker::hf {
namespace {

TEST(UnicodeTest, FormsOfNormalization) {
  const std::string composed = "\xC3\xA9\xEF\xAC\x81",
                    decomposed = "e\xCC\x81\xEF\xAC\x81";  // e with acute, fi ligature
  EXPECT_EQ(NormalizeUnicode(decomposed, NormalizationForm::kNfc), composed);
  EXPECT_EQ(NormalizeUnicode(composed, NormalizationForm::kNfd), decomposed);
  EXPECT_EQ(NormalizeUnicode(composed, NormalizationForm::kNfkc),
            "\xC3\xA9"
            "fi");
  EXPECT_EQ(NormalizeUnicode(composed, NormalizationForm::kNfkd),
            "e\xCC\x81"
            "fi");
  EXPECT_EQ(NormalizeUnicode("\xE1\x84\x80\xE1\x85\xA1", NormalizationForm::kNfc), "\xEA\xB0\x80");  // Hangul
  EXPECT_EQ(NormalizeUnicode("a\xCC\x81\xCC\xA3", NormalizationForm::kNfd), "a\xCC\xA3\xCC\x81");    // sorted
}

TEST(UnicodeTest, CharactersNewerThanTheLibrarysTablesStay) {
  EXPECT_EQ(NormalizeUnicode("\xE3\x8B\xBF", NormalizationForm::kNfkc), "\xE3\x8B\xBF");  // U+32FF, of Unicode 12.1
  EXPECT_FALSE(IsPunctuation(0x2E52));
  EXPECT_TRUE(IsPunctuation(0x2E42));
  EXPECT_FALSE(IsCombiningMark(0x1ABF));
}

TEST(UnicodeTest, LowerCase) {
  EXPECT_EQ(Lowercase("A\xC3\x89\xC4\xB0\xCE\xA3"), "a\xC3\xA9i\xCC\x87\xCF\x83");  // dotted I, Sigma
  EXPECT_EQ(Lowercase("\xF0\x90\xB5\x90"), "\xF0\x90\xB5\xB0");                     // U+10D50, of Unicode 16
}

TEST(UnicodeTest, LongRunsOfMarksTakeNoLonger) {
  std::string marks = "a";
  for (int i = 0; i < 50'000; ++i) marks += i % 2 == 0 ? "\xCC\x81" : "\xCC\xA3";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(NormalizeUnicode(marks, NormalizationForm::kNfd).size(), marks.size());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));  // 10 ms; sanitizers
}

TEST(UnicodeTest, BackwardsAndForwardsAreTheSame) {
  const std::string text = "a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80";
  std::vector<uint32_t> forwards, backwards;
  for (size_t at = 0; at < text.size();) forwards.push_back(NextCharacter(text, at));
  for (size_t end = text.size(); end > 0;) backwards.insert(backwards.begin(), PreviousCharacter(text, end));
  EXPECT_EQ(forwards, (std::vector<uint32_t>{'a', 0xE9, 0x4F60, 0x1F600}));
  EXPECT_EQ(backwards, forwards);
}

}  // namespace
}  // namespace linnet::worker::hf
