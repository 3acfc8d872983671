// SentencePiece's BPE against SentencePiece itself and llama.cpp (tests/golden/make_tokenizer.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "base/error.h"
#include "worker/text/test_support.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Ids = std::vector<TokenId>;

TokenId IdOf(const VocabularyBuilder& builder, const std::string& text) {
  const auto at = std::find(builder.tokens.begin(), builder.tokens.end(), text);
  EXPECT_NE(at, builder.tokens.end()) << text;
  return static_cast<TokenId>(at - builder.tokens.begin());
}

TEST(SentencePieceTest, EqualsSentencePieceAndLlamaCpp) {
  const nlohmann::json golden = ReadGolden("tokenizer_sentencepiece.json");
  const TokenizerFile made = SentencePieceBuilder().Build();
  ASSERT_GE(golden["texts"].size(), 60u);
  for (const auto& text : golden["texts"]) {
    const std::string bytes = FromHex(text["hex"]);
    const Ids ids = made.tokenizer->Encode(bytes, {});
    EXPECT_EQ(ids, text["plain"].get<Ids>()) << text["name"];
    EXPECT_EQ(made.tokenizer->Encode(bytes, {.parse_special = true, .add_special = true}), text["special"].get<Ids>())
        << text["name"];
    // In broken text llama.cpp takes the letter for a space apart.
    if (ReplaceBrokenUtf8(bytes) == bytes) {
      EXPECT_EQ(Decode(*made.tokenizer, ids), bytes.empty() ? "" : " " + bytes) << text["name"];
    }
  }
}

TEST(SentencePieceTest, BrokenUtf8BecomesItsBytes) {
  const TokenizerFile made = SentencePieceBuilder().Build();
  for (const std::string text : {"a\x80z", "caf\xC3", "\xF0\x9F", "\xFF\xFE", "\xC3("}) {
    EXPECT_EQ(Decode(*made.tokenizer, made.tokenizer->Encode(text, {})), " " + text);
  }
}

TEST(SentencePieceTest, ASpaceStandsBeforeTheTextAndBehindControlTokens) {
  VocabularyBuilder builder = SentencePieceBuilder();
  const TokenId a = IdOf(builder,
                         "\xE2\x96\x81"
                         "a"),
                tool = IdOf(builder, "<tool>"), letter = IdOf(builder, "a");
  const TokenizerFile made = builder.Build();
  EXPECT_THAT(made.tokenizer->Encode("a", {.add_special = true}), ElementsAre(1, a));
  EXPECT_THAT(made.tokenizer->Encode("a</s>a<tool>a", {.parse_special = true}), ElementsAre(a, 2, a, tool, letter));
  EXPECT_THAT(made.tokenizer->Encode("", {}), ElementsAre());
  builder.extra.Bool("tokenizer.ggml.add_space_prefix", 0);
  EXPECT_THAT(builder.Build().tokenizer->Encode("a", {}), ElementsAre(letter));
}

TEST(SentencePieceTest, NoTextTurnsIntoControlTokensOrBytes) {
  const TokenizerFile made = SentencePieceBuilder().Build();
  for (const char* text : {"<s>", "</s>", "<unk>", "<0x41>"}) {
    const Ids ids = made.tokenizer->Encode(text, {});
    EXPECT_THAT(ids, AllOf(Not(Contains(0)), Not(Contains(1)), Not(Contains(2))));
    EXPECT_EQ(Decode(*made.tokenizer, ids), " " + std::string(text));
  }
}

TEST(SentencePieceTest, VocabulariesThatCannotBeAreRefused) {
  const auto error = [](const VocabularyBuilder& builder) {
    const absl::Status status = builder.Error();
    EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << status;
    return std::string(status.message());
  };
  VocabularyBuilder none = SentencePieceBuilder();
  none.scores.clear();
  EXPECT_THAT(error(none), HasSubstr("tokenizer.ggml.scores is missing"));
  VocabularyBuilder few = SentencePieceBuilder();
  few.scores.pop_back();
  EXPECT_THAT(error(few), HasSubstr("899 elements for 900 tokens"));
  VocabularyBuilder nan = SentencePieceBuilder();
  nan.scores[300] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(error(nan), HasSubstr("no number"));
}

// A merger that looks through the text for each merge needs 10^10 steps.
TEST(SentencePieceTest, TimeGrowsLinearlyOnAnyText) {
  const TokenizerFile made = SentencePieceBuilder().Build();
  std::mt19937 random(1);
  std::string letters;
  for (int i = 0; i < 100'000; ++i) letters += static_cast<char>('a' + random() % 26);
  for (const std::string& text : {std::string(100'000, 'a'), std::string(100'000, ' '), std::string(100'000, '.'),
                                  std::string(100'000, '\xFF'), letters}) {
    const double begin = CpuSeconds();
    const Ids ids = made.tokenizer->Encode(text, {});
    EXPECT_LT(CpuSeconds() - begin, 2);  // 20 ms; sanitizers
    EXPECT_EQ(Decode(*made.tokenizer, ids), " " + text);
  }
}

}  // namespace
}  // namespace linnet::worker
