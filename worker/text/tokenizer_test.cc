#include "worker/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

std::string ErrorText(const VocabularyBuilder& builder) {
  const absl::Status status = builder.Error();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE");
  return std::string(status.message());
}

TEST(TokenizerGoldenTest, SmolLM2EqualsLlamaCpp) {
  const TokenizerFile smol = SmolLm2();
  const nlohmann::json golden = ReadGolden("tokenizer_smollm2.json");
  ASSERT_GE(golden["texts"].size(), 60u);
  for (const auto& text : golden["texts"]) {
    const std::string bytes = FromHex(text["hex"]);
    EXPECT_EQ(smol.tokenizer->Encode(bytes, {}), text["plain"].get<Ids>()) << text["name"];
    EXPECT_EQ(smol.tokenizer->Encode(bytes, {.parse_special = true, .add_special = true}), text["special"].get<Ids>())
        << text["name"];
  }
}

class TokenizerPreTest : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerPreTest, EqualsHuggingFaceTokenizers) {
  const nlohmann::json golden = ReadGolden(std::string("tokenizer_") + GetParam() + ".json");
  VocabularyBuilder builder{VocabularyBuilder::Empty()};
  builder.pre = golden["pre"];
  for (const auto& token : golden["tokens"]) builder.Add(token);
  builder.merges = golden["merges"].get<std::vector<std::string>>();
  const TokenizerFile made = builder.Build();
  ASSERT_GE(golden["texts"].size(), 60u);
  for (const auto& text : golden["texts"]) {
    const std::string bytes = FromHex(text["hex"]);
    const Ids ids = made.tokenizer->Encode(bytes, {});
    EXPECT_EQ(ids, text["plain"].get<Ids>()) << text["name"];
    EXPECT_EQ(Decode(*made.tokenizer, ids), bytes) << text["name"];
  }
}

INSTANTIATE_TEST_SUITE_P(, TokenizerPreTest, ::testing::Values("smollm", "qwen2", "llama_bpe"),
                         [](const auto& info) { return std::string(info.param); });

TEST(TokenizerTest, MergesLowestRankFirstAndLeftmost) {
  VocabularyBuilder builder;
  const TokenId bc = builder.Merge("b", "c");
  const TokenId ab = builder.Merge("a", "b");
  const TokenId aa = builder.Merge("a", "a");
  const TokenId abab = builder.Merge("ab", "ab");
  const TokenizerFile made = builder.Build();
  const auto encode = [&](std::string_view text) { return made.tokenizer->Encode(text, {}); };
  EXPECT_THAT(encode("abc"), ElementsAre('a', bc));  // b+c before a+b
  EXPECT_THAT(encode("ab"), ElementsAre(ab));
  EXPECT_THAT(encode("aaa"), ElementsAre(aa, 'a'));
  EXPECT_THAT(encode("ababab"), ElementsAre(abab, ab));
  EXPECT_THAT(encode("aab"), ElementsAre('a', ab));
}

TEST(TokenizerTest, DigitsFollowThePreTokenizer) {
  VocabularyBuilder builder;
  const TokenId one_two = builder.Merge("1", "2");
  const TokenId three = builder.Merge("12", "3");
  builder.pre = "smollm";
  EXPECT_THAT(builder.Build().tokenizer->Encode("1234", {}), ElementsAre('1', '2', '3', '4'));
  builder.pre = "qwen2";
  EXPECT_THAT(builder.Build().tokenizer->Encode("1234", {}), ElementsAre('1', '2', '3', '4'));
  builder.pre = "llama-bpe";
  EXPECT_THAT(builder.Build().tokenizer->Encode("123412", {}), ElementsAre(three, '4', one_two));
  builder.pre = "gpt-2";
  EXPECT_THAT(builder.Build().tokenizer->Encode("123412", {}), ElementsAre(three, '4', one_two));
}

TEST(TokenizerTest, WholeWordsAreTakenWhereMergesAreIgnored) {
  VocabularyBuilder builder;
  builder.Merge("a", "b");
  const TokenId word = builder.Add("abcd");  // no merge makes it
  builder.pre = "llama-bpe";
  EXPECT_THAT(builder.Build().tokenizer->Encode("abcd", {}), ElementsAre(word));
  builder.pre = "qwen2";
  EXPECT_THAT(builder.Build().tokenizer->Encode("abcd", {}), Not(Contains(word)));
}

TEST(TokenizerTest, ControlTokensOnlyWhereAsked) {
  VocabularyBuilder builder;
  const TokenId end = builder.Control("<|end|>");
  const TokenId user_defined = builder.UserDefined("<tool>");
  const TokenizerFile made = builder.Build();
  const std::string text = "a<|end|><tool>b";
  const Ids plain = made.tokenizer->Encode(text, {});
  EXPECT_THAT(plain, AllOf(Not(Contains(end)), Contains(user_defined)));
  EXPECT_EQ(Decode(*made.tokenizer, plain), text);
  const Ids parsed = made.tokenizer->Encode(text, {.parse_special = true});
  EXPECT_THAT(parsed, ElementsAre('a', end, user_defined, 'b'));
  EXPECT_EQ(Decode(*made.tokenizer, parsed), "a<tool>b");
  EXPECT_EQ(Decode(*made.tokenizer, parsed, true), text);
  EXPECT_TRUE(made.tokenizer->IsControl(end));
  EXPECT_FALSE(made.tokenizer->IsControl(user_defined));
  EXPECT_THAT(made.tokenizer->control_texts(), ElementsAre("<|end|>"));
}

TEST(TokenizerTest, LongerSpecialTokensGoFirst) {
  VocabularyBuilder builder;
  const TokenId part = builder.Control("<a>");
  const TokenId whole = builder.Control("<a><b>");
  const TokenizerFile made = builder.Build();
  EXPECT_THAT(made.tokenizer->Encode("<a><a><b>", {.parse_special = true}), ElementsAre(part, whole));
}

TEST(TokenizerTest, WordsNeverTurnIntoControlTokens) {
  VocabularyBuilder builder;
  const TokenId dashes = builder.Control("---");  // a whole word of the pre-tokenizer
  builder.pre = "llama-bpe";
  EXPECT_THAT(builder.Build().tokenizer->Encode("---", {}), Not(Contains(dashes)));
}

TEST(TokenizerTest, BreakerKeepsTextOrdinary) {
  VocabularyBuilder builder;
  const TokenId end = builder.Control("<|end|>");
  const TokenizerFile made = builder.Build();
  const Ids ids =
      made.tokenizer->Encode("x<|end|>y<\xEF\xB7\x90|end|>z", {.parse_special = true, .breaker = "\xEF\xB7\x90"});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), end), 1);
  EXPECT_EQ(Decode(*made.tokenizer, ids), "xy<|end|>z");
}

TEST(TokenizerTest, BosAndEosWhereTheModelAsks) {
  VocabularyBuilder builder;
  const TokenId bos = builder.Control("<s>");
  const TokenId eos = builder.Control("</s>");
  builder.extra.U32("tokenizer.ggml.bos_token_id", bos);
  builder.extra.U32("tokenizer.ggml.eos_token_id", eos);
  const Tokenizer::EncodeOptions add{.add_special = true};
  EXPECT_THAT(builder.Build().tokenizer->Encode("a", add), ElementsAre('a'));
  builder.pre = "llama-bpe";  // asks for BOS unless the file says no
  EXPECT_THAT(builder.Build().tokenizer->Encode("a", add), ElementsAre(bos, 'a'));
  EXPECT_THAT(builder.Build().tokenizer->Encode("a", {}), ElementsAre('a'));
  builder.extra.Bool("tokenizer.ggml.add_bos_token", 0);
  builder.extra.Bool("tokenizer.ggml.add_eos_token", 1);
  const TokenizerFile made = builder.Build();
  EXPECT_THAT(made.tokenizer->Encode("", add), ElementsAre(eos));
  EXPECT_EQ(made.tokenizer->bos(), bos);
  EXPECT_EQ(made.tokenizer->eos(), eos);
}

TEST(TokenizerTest, EndOfGenerationFromIdsAndNames) {
  VocabularyBuilder builder;
  const TokenId eos = builder.Control("<stop>");
  const TokenId eot = builder.Control("<turn>");
  const TokenId named = builder.Add("<|im_end|>");  // of the wrong type in the file
  builder.extra.U32("tokenizer.ggml.eos_token_id", eos);
  builder.extra.U32("tokenizer.ggml.eot_token_id", eot);
  const TokenizerFile made = builder.Build();
  EXPECT_THAT(made.tokenizer->end_of_generation(), ElementsAre(eos, eot, named));
  EXPECT_TRUE(made.tokenizer->IsControl(named));
}

TEST(TokenizerTest, TokenBytesOfAnyIdAreSafe) {
  const TokenizerFile made = VocabularyBuilder().Build();
  EXPECT_EQ(made.tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(made.tokenizer->TokenBytes(made.tokenizer->vocab_size()), "");
  for (int b = 0; b < 256; ++b) EXPECT_EQ(made.tokenizer->TokenBytes(b), std::string(1, static_cast<char>(b)));
  EXPECT_FALSE(made.tokenizer->IsControl(1 << 30));
}

TEST(TokenizerTest, MalformedVocabulariesAreRefused) {
  VocabularyBuilder duplicate;
  duplicate.Add("x");
  EXPECT_THAT(ErrorText(duplicate), AllOf(HasSubstr("120 and 256"), HasSubstr("\"x\"")));
  VocabularyBuilder no_pair;
  no_pair.merges.push_back("ab");
  EXPECT_THAT(ErrorText(no_pair), HasSubstr("merge 0"));
  VocabularyBuilder unknown_part;
  unknown_part.Add("zq");
  unknown_part.merges.push_back("z qq");
  EXPECT_THAT(ErrorText(unknown_part), HasSubstr("no token"));
  VocabularyBuilder unknown_whole;
  unknown_whole.merges.push_back("z q");
  EXPECT_THAT(ErrorText(unknown_whole), HasSubstr("no token"));
  VocabularyBuilder control;
  control.Control("zq");
  control.merges.push_back("z q");
  EXPECT_THAT(ErrorText(control), HasSubstr("control token"));
  VocabularyBuilder types;
  types.types.pop_back();
  EXPECT_THAT(ErrorText(types), HasSubstr("255 elements for 256 tokens"));
  VocabularyBuilder type;
  type.types[7] = 99;
  EXPECT_THAT(ErrorText(type), HasSubstr("token 7"));
  VocabularyBuilder id;
  id.extra.U32("tokenizer.ggml.eos_token_id", 256);
  EXPECT_THAT(ErrorText(id), AllOf(HasSubstr("eos_token_id"), HasSubstr("256")));
  VocabularyBuilder negative;
  negative.extra.I32("tokenizer.ggml.bos_token_id", -5);
  EXPECT_THAT(ErrorText(negative), HasSubstr("bos_token_id"));
  EXPECT_THAT(ErrorText(VocabularyBuilder{VocabularyBuilder::Empty()}), HasSubstr("empty"));
  VocabularyBuilder model;
  model.model = "bert";
  EXPECT_THAT(ErrorText(model), AllOf(HasSubstr("\"bert\""), HasSubstr("gpt2"), HasSubstr("llama"), HasSubstr("t5")));
  VocabularyBuilder pre;
  pre.pre = "no-such";
  EXPECT_THAT(ErrorText(pre), AllOf(HasSubstr("no-such"), HasSubstr("smollm")));
}

// 100 kB of one character is one word of the pre-tokenizer. A merger that looks through the word for each merge needs
// 10^10 steps for it.
TEST(TokenizerTest, TimeGrowsLinearlyOnAnyText) {
  const TokenizerFile smol = SmolLm2();
  std::string digits_and_spaces, newlines;
  for (int i = 0; i < 50'000; ++i) digits_and_spaces += i % 2 ? "1" : "  ";
  for (int i = 0; i < 10'000; ++i) newlines += "\n        \n";
  std::mt19937 random(1);
  std::string letters;
  for (int i = 0; i < 100'000; ++i) letters += static_cast<char>('a' + random() % 26);
  const std::vector<std::string> texts = {std::string(100'000, 'a'),
                                          std::string(100'000, ' '),
                                          std::string(100'000, '\n'),
                                          std::string(100'000, '7'),
                                          std::string(100'000, '<'),
                                          std::string(100'000, '\xff'),
                                          digits_and_spaces,
                                          newlines,
                                          letters};
  for (const char* pre : {"smollm", "qwen2", "llama-bpe", "default"}) {
    VocabularyBuilder builder;
    builder.pre = pre;
    for (std::string unit = "a"; unit.size() < 64; unit += unit) builder.Merge(unit, unit);
    for (int i = 0; i < 300; ++i) builder.Control("<|reserved_" + std::to_string(i) + "|>");
    const TokenizerFile made = builder.Build();
    for (const std::string& text : texts) {
      for (const Tokenizer* tokenizer : {made.tokenizer.get(), smol.tokenizer.get()}) {
        const double begin = CpuSeconds();
        const Ids ids = tokenizer->Encode(text, {.parse_special = true});
        const double took = CpuSeconds() - begin;
        EXPECT_EQ(Decode(*tokenizer, ids), TokenizerUtf8(text));
        EXPECT_LT(took, 2) << pre << ", text of '" << text[0] << "'";  // 10 to 40 ms; sanitizers
      }
    }
  }
}

TEST(TokenizerTest, RandomTextComesBack) {
  VocabularyBuilder builder;
  builder.Merge("a", "b");
  builder.Merge("1", "2");
  const TokenizerFile made = builder.Build();
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (int n = static_cast<int>(random() % 60); n > 0; --n)
      bytes += static_cast<char>(random() % (round % 2 ? 256 : 128));
    const Ids ids = made.tokenizer->Encode(bytes, {});
    EXPECT_EQ(Decode(*made.tokenizer, ids), TokenizerUtf8(bytes));
  }
}

// SmolLM2 has no token for a few control characters, and llama.cpp leaves them out too.
TEST(TokenizerTest, BytesWithoutTokensAreLeftOut) {
  const TokenizerFile smol = SmolLm2();
  EXPECT_EQ(Decode(*smol.tokenizer, smol.tokenizer->Encode("a\x04"
                                                           "b\x05"
                                                           "c",
                                                           {})),
            "ab\x05"
            "c");
}

}  // namespace
}  // namespace linnet::worker
