#include "worker/text/hf/oniguruma.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace linnet::worker::hf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> All(std::string_view pattern, std::string_view text) {
  const absl::StatusOr<Regex> regex = CompileOniguruma(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<Regex::Match> matches;
  if (regex.ok()) regex->FindAll(text, matches);
  std::vector<std::string> found;
  for (const Regex::Match& match : matches) found.emplace_back(text.substr(match.begin, match.end - match.begin));
  return found;
}

std::string ErrorOf(std::string_view pattern) {
  const absl::Status status = CompileOniguruma(pattern).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pattern;
  return std::string(status.message());
}

TEST(OnigurumaTest, ClassesWithinClassesAreTheirUnion) {
  // BLOOM's own.
  EXPECT_THAT(All(" ?[^(\\s|[.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C])]+",
                  "ab, c|d (e)\xE3\x80\x82"
                  "f"),
              ElementsAre("ab", " c", "d", "e", "f"));
  EXPECT_THAT(All("[a[bc]d]+", "xabcdx"), ElementsAre("abcd"));
}

TEST(OnigurumaTest, SetsOfCharactersAreUnicodes) {
  EXPECT_THAT(All("\\s", "\xE1\xA0\x8E\xC2\x85\xE3\x80\x80"), ElementsAre("\xC2\x85", "\xE3\x80\x80"));  // not U+180E
  EXPECT_THAT(All("[^\\s]", " a\xE1\xA0\x8E"), ElementsAre("a", "\xE1\xA0\x8E"));
  EXPECT_THAT(All("\\d+", "1\xD9\xA2\xC2\xB2"), ElementsAre("1\xD9\xA2"));          // not superscript two
  EXPECT_THAT(All("\\w+", "a_1\xC2\xB2\xCC\x81"), ElementsAre("a_1", "\xCC\x81"));  // nor here
  EXPECT_THAT(All("\\p{Han}+", "\xE4\xBD\xA0\xE3\x80\x82"), ElementsAre("\xE4\xBD\xA0"));
  EXPECT_THAT(All("\\p{^L}", "a1"), ElementsAre("1"));
}

TEST(OnigurumaTest, CaseFoldsAsThere) {
  EXPECT_THAT(All("(?i:'s|'ll)", "'S'lL'\xC5\xBF"), ElementsAre("'S", "'lL", "'\xC5\xBF"));  // long s
  EXPECT_THAT(All("(?i)ab|c", "AbC"), ElementsAre("Ab", "C"));
}

TEST(OnigurumaTest, LinesAndEscapes) {
  EXPECT_THAT(All("^a$", "a\nb\na"), ElementsAre("a", "a"));
  EXPECT_THAT(All("\\x41\\u0042\\x{43}\\t\\-", "ABC\t-"), ElementsAre("ABC\t-"));
  EXPECT_THAT(All("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(All("a{x}", "a{x}"), ElementsAre("a{x}"));
  EXPECT_THAT(All("\\w\\b", "ab c"), ElementsAre("b", "c"));
  EXPECT_THAT(All("[^\\r\\n]?+a++", "xaa"), ElementsAre("xaa"));
}

TEST(OnigurumaTest, WhatIsReadDifferentlyIsRefusedByName) {
  EXPECT_THAT(ErrorOf("(a)\\1"), HasSubstr("\"\\1\" is not supported"));
  EXPECT_THAT(ErrorOf("[a&&b]"), HasSubstr("intersection"));
  EXPECT_THAT(ErrorOf("[a[^b]]"), HasSubstr("negated class within a class"));
  EXPECT_THAT(ErrorOf("a{1,2}+"), HasSubstr("behind an interval"));
  EXPECT_THAT(ErrorOf("a(?i)b"), HasSubstr("\"(?i)\""));
  EXPECT_THAT(ErrorOf("(?m:.)"), HasSubstr("\"(?m:\""));
  EXPECT_THAT(ErrorOf("(?i:ss)"), HasSubstr("\"ss\" under (?i)"));
  EXPECT_THAT(ErrorOf("(?i:\\p{Lu})"), HasSubstr("property under (?i)"));
  EXPECT_THAT(ErrorOf("\\h"), HasSubstr("\"\\h\""));
  EXPECT_THAT(ErrorOf("\\p{Klingon}"), HasSubstr("PCRE2"));
  EXPECT_THAT(ErrorOf("(*ACCEPT)"), HasSubstr("\"(*AC\""));
}

TEST(OnigurumaTest, WhatIsMalformedIsRefused) {
  for (const char* pattern : {"(", ")", "[a", "*a", "a\\", "\\p{L", "\\x{}", "\xFF"}) EXPECT_NE(ErrorOf(pattern), "");
  EXPECT_THAT(ErrorOf(std::string(100, '(') + std::string(100, ')')), HasSubstr("nested too deeply"));
  EXPECT_THAT(ErrorOf(std::string(100, '[') + std::string(100, ']')), HasSubstr("nested too deeply"));
  EXPECT_THAT(ErrorOf(std::string(100'000, 'a')), HasSubstr("too many"));
}

TEST(OnigurumaTest, WhatBacktracksWithoutEndIsRefused) {
  for (const char* pattern : {"(?:a+)+$x", "(?:a|a)*b", "a*a*a*b", "\\s+\\s+x", "(?:.*.*)=x"}) {
    EXPECT_THAT(ErrorOf(pattern), HasSubstr("takes too long"));
  }
}

}  // namespace
}  // namespace linnet::worker::hf
