// tokenizer.json as a tokenizer. Ids of whole families come from Hugging Face's own library
// (tests/golden/compare_tokenizers.py); the particulars are spelled out here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "worker/text/hf/hf_test_support.h"
#include "worker/text/stream_decoder.h"

namespace linnet::worker {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Ids = std::vector<TokenId>;
using nlohmann::json;

// Ids of SmallBpe's tokens.
enum : TokenId { kUnk, kA, kB, kC, kD, kE, kF, kG, kH, kMeta, kSpace, kAb, kCd };

Ids Encode(const json& tokenizer, std::string_view text, const Tokenizer::EncodeOptions& options = {}) {
  return MakeHf(tokenizer.dump()).tokenizer->Encode(text, options);
}

std::string ErrorOf(const json& tokenizer) {
  const absl::Status status = HfError(tokenizer.dump());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.gguf"));
  return std::string(status.message());
}

class HfFamilyTest : public ::testing::TestWithParam<size_t> {};

TEST_P(HfFamilyTest, EqualsHuggingFaceTokenizers) {
  const json golden = ReadGolden("tokenizer_families.json");
  const json& family = golden["families"][GetParam()];
  SCOPED_TRACE(family["name"].get<std::string>());
  const TokenizerFile made = MakeHf(family["tokenizer"].dump());
  ASSERT_EQ(family["plain"].size(), golden["texts"].size());
  for (size_t i = 0; i < golden["texts"].size(); ++i) {
    const std::string text = golden["texts"][i];
    const Ids plain = made.tokenizer->Encode(text, {});
    EXPECT_EQ(plain, family["plain"][i].get<Ids>()) << text;
    EXPECT_EQ(made.tokenizer->Encode(text, {.parse_special = true, .add_special = true}),
              family["special"][i].get<Ids>())
        << text;
    EXPECT_EQ(Decode(*made.tokenizer, plain), family["decoded"][i].get<std::string>()) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(, HfFamilyTest, ::testing::Range<size_t>(0, 7));

TEST(HfTokenizerTest, GoldenDataIsComparedWhole) {
  EXPECT_EQ(ReadGolden("tokenizer_families.json")["families"].size(), 7u);
}

TEST(HfTokenizerTest, MergesAndUnknownCharacters) {
  json tokenizer = SmallBpe();
  EXPECT_THAT(Encode(tokenizer, "abcd"), ElementsAre(kAb, kCd));
  EXPECT_THAT(Encode(tokenizer, "xyaz"), ElementsAre(kUnk, kUnk, kA, kUnk));
  tokenizer["model"]["fuse_unk"] = true;
  EXPECT_THAT(Encode(tokenizer, "xyaz"), ElementsAre(kUnk, kA, kUnk));
  tokenizer["model"]["merges"] = json::array({json::array({"a", "b"}), json::array({"c", "d"})});  // newer
  EXPECT_THAT(Encode(tokenizer, "abcd"), ElementsAre(kAb, kCd));
  tokenizer["model"].erase("unk_token");
  EXPECT_THAT(Encode(tokenizer, "xya"), ElementsAre(kA));
}

TEST(HfTokenizerTest, WholeWordsAreTakenWhereMergesAreIgnored) {
  json tokenizer = SmallBpe();
  tokenizer["model"]["vocab"]["abcd"] = 13;
  EXPECT_THAT(Encode(tokenizer, "abcd"), ElementsAre(kAb, kCd));
  tokenizer["model"]["ignore_merges"] = true;
  EXPECT_THAT(Encode(tokenizer, "abcd"), ElementsAre(13));
}

TEST(HfTokenizerTest, ControlTokensOnlyWhereAsked) {
  json tokenizer = SmallBpe();
  tokenizer["added_tokens"] = {AddedTokenJson(0, "<unk>", true), AddedTokenJson(13, "<end>", true),
                               AddedTokenJson(14, "<tool>", false)};
  EXPECT_THAT(Encode(tokenizer, "a<end>b<tool>"), AllOf(Not(Contains(13)), Contains(14)));
  EXPECT_THAT(Encode(tokenizer, "a<end>b<tool>", {.parse_special = true}), ElementsAre(kA, 13, kB, 14));
  const TokenizerFile made = MakeHf(tokenizer.dump());
  EXPECT_TRUE(made.tokenizer->IsControl(13));
  EXPECT_FALSE(made.tokenizer->IsControl(14));
  EXPECT_EQ(made.tokenizer->TokenBytes(13), "");
  EXPECT_EQ(made.tokenizer->TokenBytes(13, /*special=*/true), "<end>");
  EXPECT_EQ(made.tokenizer->TokenBytes(14), "<tool>");
  EXPECT_THAT(made.tokenizer->control_texts(), ElementsAre("<unk>", "<end>"));
}

TEST(HfTokenizerTest, NoTextTurnsIntoAControlToken) {
  json tokenizer = SmallBpe();
  tokenizer["normalizer"] = {{"type", "NFKC"}};
  tokenizer["model"]["ignore_merges"] = true;
  tokenizer["added_tokens"] = {AddedTokenJson(kAb, "ab", true, /*normalized=*/true)};
  // By merging, as a whole word, and by normalization (a fullwidth "ab").
  EXPECT_THAT(Encode(tokenizer, "ab"), ElementsAre(kA, kB));
  EXPECT_THAT(Encode(tokenizer, "\xEF\xBD\x81\xEF\xBD\x82", {.parse_special = true}), ElementsAre(kA, kB));
  EXPECT_THAT(Encode(tokenizer, "cabd", {.parse_special = true}), ElementsAre(kC, kAb, kD));
  // Known by name, and not marked.
  json named = SmallBpe();
  named["added_tokens"] = {AddedTokenJson(13, "<|im_end|>", false, /*normalized=*/true)};
  EXPECT_THAT(Encode(named, "<|im_end|>"), Not(Contains(13)));
}

TEST(HfTokenizerTest, BreakerKeepsTextOrdinary) {
  json tokenizer = SmallBpe();
  tokenizer["added_tokens"] = {AddedTokenJson(13, "ha", true)};
  EXPECT_THAT(Encode(tokenizer, "h!aha", {.parse_special = true, .breaker = "!"}), ElementsAre(kH, kA, 13));
}

TEST(HfTokenizerTest, AddedTokensTakeSpaceAndStandAlone) {
  json tokenizer = SmallBpe();
  json left = AddedTokenJson(13, "<l>", false), right = AddedTokenJson(14, "<r>", false),
       word = AddedTokenJson(15, "hg", false);
  left["lstrip"] = right["rstrip"] = word["single_word"] = true;
  tokenizer["added_tokens"] = {left, right, word};
  EXPECT_THAT(Encode(tokenizer, "a  <l> b"), ElementsAre(kA, 13, kSpace, kB));
  EXPECT_THAT(Encode(tokenizer, "a <r>  b"), ElementsAre(kA, kSpace, 14, kB));
  EXPECT_THAT(Encode(tokenizer, "hg ahg hga hg"), ElementsAre(15, kSpace, kA, kH, kG, kSpace, kH, kG, kA, kSpace, 15));
}

TEST(HfTokenizerTest, NormalizedTokensAreFoundInTheNormalizedText) {
  json tokenizer = SmallBpe();
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  tokenizer["added_tokens"] = {AddedTokenJson(13, "HG", false, true), AddedTokenJson(14, "FE", false, false)};
  EXPECT_THAT(Encode(tokenizer, "hGfeFE"), ElementsAre(13, kF, kE, 14));
}

TEST(HfTokenizerTest, NormalizedTokensComeBackWithWhatTheyTook) {
  json tokenizer = SmallBpe();
  const std::string meta = "\xE2\x96\x81";
  tokenizer["normalizer"] = {{"type", "Prepend"}, {"prepend", meta}};
  tokenizer["decoder"] = {{"type", "Metaspace"}, {"replacement", meta}};
  tokenizer["added_tokens"] = {AddedTokenJson(13, "<t>", false, true)};
  const TokenizerFile made = MakeHf(tokenizer.dump());
  EXPECT_THAT(made.tokenizer->Encode("<t>a", {}), ElementsAre(13, kA));
  EXPECT_EQ(made.tokenizer->TokenBytes(13), " <t>");
}

TEST(HfTokenizerTest, PostProcessorsPutTokensAround) {
  json tokenizer = SmallBpe();
  const auto special = [](const char* id) { return json{{"SpecialToken", {{"id", id}, {"type_id", 0}}}}; };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json tokens = {{"<s>", {{"id", "<s>"}, {"ids", {7}}, {"tokens", {"g"}}}},
                       {"</s>", {{"id", "</s>"}, {"ids", {8, 8}}, {"tokens", {"h", "h"}}}}};
  json around = {{"type", "TemplateProcessing"},
                 {"single", {special("<s>"), text, special("</s>")}},
                 {"pair", json::array()},
                 {"special_tokens", tokens}};
  tokenizer["post_processor"] = around;
  EXPECT_THAT(Encode(tokenizer, "a", {.add_special = true}), ElementsAre(7, kA, 8, 8));
  EXPECT_THAT(Encode(tokenizer, "", {.add_special = true}), ElementsAre(7, 8, 8));
  EXPECT_THAT(Encode(tokenizer, "a"), ElementsAre(kA));
  tokenizer["post_processor"] = {{"type", "Sequence"},
                                 {"processors", {{{"type", "ByteLevel"}, {"trim_offsets", false}}, around}}};
  EXPECT_THAT(Encode(tokenizer, "a", {.add_special = true}), ElementsAre(7, kA, 8, 8));
  tokenizer["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 7}}, {"sep", {"</s>", 8}}};
  EXPECT_THAT(Encode(tokenizer, "a", {.add_special = true}), ElementsAre(7, kA, 8));
  around["single"].push_back(text);
  tokenizer["post_processor"] = around;
  EXPECT_THAT(ErrorOf(tokenizer), HasSubstr("a second text"));
  tokenizer["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 70}}, {"sep", {"</s>", 8}}};
  EXPECT_THAT(ErrorOf(tokenizer), HasSubstr("there is no token 70"));
}

TEST(HfTokenizerTest, MetaspaceInItsOldAndNewForms) {
  json tokenizer = SmallBpe();
  const std::string meta = "\xE2\x96\x81";
  tokenizer["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", meta}, {"add_prefix_space", true}, {"str_rep", meta}};
  EXPECT_THAT(Encode(tokenizer, "a b"), ElementsAre(kMeta, kA, kMeta, kB));
  tokenizer["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", meta}, {"add_prefix_space", false}};
  EXPECT_THAT(Encode(tokenizer, "a b"), ElementsAre(kA, kMeta, kB));
  tokenizer["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", meta}, {"prepend_scheme", "first"}, {"split", false}};
  tokenizer["added_tokens"] = {AddedTokenJson(13, "<t>", false)};
  EXPECT_THAT(Encode(tokenizer, "a<t>b"), ElementsAre(kMeta, kA, 13, kB));
  EXPECT_THAT(Encode(tokenizer, "<t>b"), ElementsAre(13, kB));
  tokenizer["pre_tokenizer"]["prepend_scheme"] = "always";
  EXPECT_THAT(Encode(tokenizer, "a<t>b"), ElementsAre(kMeta, kA, 13, kMeta, kB));
}

TEST(HfTokenizerTest, BytesThatNoCharacterCompletesAreHeldBack) {
  json tokenizer = SmallBpe();
  tokenizer["model"]["byte_fallback"] = true;
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", b);
    tokenizer["model"]["vocab"][name] = 13 + b;
  }
  tokenizer["decoder"] = {{"type", "Sequence"}, {"decoders", {{{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
  const TokenizerFile made = MakeHf(tokenizer.dump());
  const Ids ids = made.tokenizer->Encode(
      "\xE4\xBD\xA0"
      "a\xFF",
      {});
  EXPECT_THAT(ids, ElementsAre(13 + 0xE4, 13 + 0xBD, 13 + 0xA0, kA, 13 + 0xEF, 13 + 0xBF, 13 + 0xBD));  // U+FFFD
  StreamDecoder stream(made.tokenizer.get(), {});
  EXPECT_EQ(stream.Push(ids[0]), "");
  EXPECT_EQ(stream.Push(ids[1]), "");
  EXPECT_EQ(stream.Push(ids[2]), "\xE4\xBD\xA0");
  EXPECT_EQ(stream.Push(13 + 0xE4), "");
  EXPECT_EQ(stream.Push(kA),
            "\xEF\xBF\xBD"
            "a");
}

TEST(HfTokenizerTest, SpecialIdsComeFromTheFile) {
  json tokenizer = SmallBpe();
  tokenizer["added_tokens"] = {AddedTokenJson(13, "<s>", true), AddedTokenJson(14, "<|im_end|>", true)};
  GgufTestWriter extra;
  extra.U32("tokenizer.ggml.bos_token_id", 13);
  extra.U32("tokenizer.ggml.eos_token_id", 5);
  const TokenizerFile made = MakeHf(tokenizer.dump(), extra);
  EXPECT_EQ(made.tokenizer->bos(), 13);
  EXPECT_EQ(made.tokenizer->eos(), 5);
  EXPECT_THAT(made.tokenizer->end_of_generation(), ElementsAre(5, 14));
  EXPECT_EQ(made.tokenizer->vocab_size(), 15);
}

TEST(HfTokenizerTest, TokensOfTheFileMustBeTheSame) {
  const json tokenizer = SmallBpe();
  std::vector<std::string> tokens(13);
  for (const auto& [text, id] : tokenizer["model"]["vocab"].items()) tokens[id.get<size_t>()] = text;
  tokens.push_back("[PAD]");
  GgufTestWriter same, other, fewer;
  same.Strings("tokenizer.ggml.tokens", tokens);
  EXPECT_TRUE(HfError(tokenizer.dump(), same).ok());
  std::swap(tokens[kA], tokens[kB]);
  other.Strings("tokenizer.ggml.tokens", tokens);
  EXPECT_THAT(std::string(HfError(tokenizer.dump(), other).message()), HasSubstr("token 1 is \"a\", and \"b\""));
  tokens = {"<unk>", "a", "b"};
  fewer.Strings("tokenizer.ggml.tokens", tokens);
  EXPECT_THAT(std::string(HfError(tokenizer.dump(), fewer).message()), HasSubstr("which has 3"));
}

// As Gemma 3's <image_soft_token> in models of texts alone.
TEST(HfTokenizerTest, AddedTokensWithoutAnEmbeddingAreText) {
  json tokenizer = SmallBpe();
  tokenizer["added_tokens"] = {AddedTokenJson(13, "<e>", true), AddedTokenJson(14, "ace", true)};
  const auto ids = [&](const GgufTestWriter& extra) {
    return MakeHf(tokenizer.dump(), extra).tokenizer->Encode("<e>ace", {.parse_special = true});
  };
  EXPECT_THAT(ids({}), ElementsAre(13, 14));
  std::vector<std::string> tokens(14);
  for (const auto& [text, id] : tokenizer["model"]["vocab"].items()) tokens[id.get<size_t>()] = text;
  tokens[13] = "<e>";
  GgufTestWriter listed;
  listed.Strings("tokenizer.ggml.tokens", tokens);
  EXPECT_THAT(ids(listed), ElementsAre(13, kA, kC, kE));
  EXPECT_EQ(MakeHf(tokenizer.dump(), listed).tokenizer->vocab_size(), 14);
  // Without a list the table of embeddings counts.
  GgufTestWriter table;
  table.String("tokenizer.huggingface.json", tokenizer.dump());
  table.Tensor("token_embd.weight", {2, 14}, /*type=*/0, 0);
  const std::string bytes = table.Build(std::string(2 * 14 * sizeof(float), '\0'));
  const auto file = *GgufFile::Parse(BytesOf(bytes), "model.gguf");
  EXPECT_EQ((*Tokenizer::FromGguf(*file))->vocab_size(), 14);
  // A text cannot begin with what there is no row for.
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "ace"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", json::array()},
      {"special_tokens", {{"ace", {{"id", "ace"}, {"ids", {14}}, {"tokens", {"ace"}}}}}}};
  EXPECT_THAT(std::string(HfError(tokenizer.dump(), listed).message()), HasSubstr("there is no token 14"));
}

TEST(HfTokenizerTest, WhatIsNotSupportedIsNamed) {
  const auto with = [](const char* member, json value) {
    json tokenizer = SmallBpe();
    tokenizer[member] = std::move(value);
    return ErrorOf(tokenizer);
  };
  const auto model = [](const char* member, json value) {
    json tokenizer = SmallBpe();
    tokenizer["model"][member] = std::move(value);
    return ErrorOf(tokenizer);
  };
  EXPECT_THAT(with("normalizer", {{"type", "BertNormalizer"}}), HasSubstr("normalizer: type \"BertNormalizer\""));
  EXPECT_THAT(with("normalizer", {{"type", "NFC"}, {"extra", 1}}), HasSubstr("normalizer: member \"extra\""));
  EXPECT_THAT(with("pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "UnicodeScripts"}}}}}),
              HasSubstr("pre_tokenizer.pretokenizers[0]: type \"UnicodeScripts\""));
  EXPECT_THAT(
      with("pre_tokenizer",
           {{"type", "Split"}, {"pattern", {{"Regex", "(a)\\1"}}}, {"behavior", "Isolated"}, {"invert", false}}),
      HasSubstr("pre_tokenizer.pattern: regular expression"));
  EXPECT_THAT(with("decoder", {{"type", "CTC"}}), HasSubstr("decoder: type \"CTC\""));
  EXPECT_THAT(with("post_processor", {{"type", "Other"}}), HasSubstr("post_processor: type \"Other\""));
  EXPECT_THAT(with("version", "2.0"), HasSubstr("version \"2.0\""));
  EXPECT_THAT(with("surprise", 1), HasSubstr("member \"surprise\""));
  EXPECT_THAT(with("model", {{"type", "WordPiece"}}), HasSubstr("model: type \"WordPiece\""));
  EXPECT_THAT(model("dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(model("unk_token", "<none>"), HasSubstr("\"<none>\" is no token"));
  EXPECT_THAT(model("merges", {"a z"}), AllOf(HasSubstr("merges[0]"), HasSubstr("\"z\"")));
  EXPECT_THAT(model("merges", {"ab"}), HasSubstr("no pair of tokens"));
  json twice = SmallBpe();
  twice["model"]["vocab"]["zz"] = 1;
  EXPECT_THAT(ErrorOf(twice), HasSubstr("are both token 1"));
  EXPECT_THAT(model("vocab", {{"a", -1}}), HasSubstr("the id of \"a\" is -1"));
  EXPECT_THAT(model("vocab", {{"a", 1ull << 40}}), HasSubstr("the id of \"a\""));
  EXPECT_THAT(with("added_tokens", {AddedTokenJson(20, "<x>", true)}), HasSubstr("should have 13"));
  EXPECT_THAT(with("added_tokens", {AddedTokenJson(2, "a", true)}), HasSubstr("should have 1"));
}

TEST(HfTokenizerTest, HostileFilesAreRefused) {
  const auto error = [](const std::string& text) { return std::string(HfError(text).message()); };
  EXPECT_THAT(error("{"), HasSubstr("no JSON"));
  EXPECT_THAT(error("[]"), HasSubstr("should be an object"));
  EXPECT_THAT(error(std::string(1'000'000, '[')), HasSubstr("nested too deeply"));
  json nested = {{"type", "NFC"}};
  for (int i = 0; i < 12; ++i) nested = {{"type", "Sequence"}, {"normalizers", json::array({nested})}};
  json tokenizer = SmallBpe();
  tokenizer["normalizer"] = nested;
  EXPECT_THAT(ErrorOf(tokenizer), HasSubstr("nested too deeply"));
  tokenizer = SmallBpe();
  tokenizer["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(?:a+)+$x"}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_THAT(ErrorOf(tokenizer), HasSubstr("takes too long"));
}

// Rules that double a text each time would take all memory.
TEST(HfTokenizerTest, TextsGrowWithinBounds) {
  json tokenizer = SmallBpe();
  json rules = json::array();
  for (int i = 0; i < 40; ++i) {
    rules.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  }
  tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", rules}};
  EXPECT_LT(Encode(tokenizer, std::string(100, 'a')).size(), 100'000u);
}

TEST(HfTokenizerTest, TimeGrowsLinearlyOnAnyText) {
  const json golden = ReadGolden("tokenizer_families.json");
  std::string marks;
  for (int i = 0; i < 16'000; ++i) marks += i % 2 == 0 ? "\xCC\x81" : "\xCC\xA3";  // above and below, out of order
  for (const json& family : golden["families"]) {
    const TokenizerFile made = MakeHf(family["tokenizer"].dump());
    for (const std::string& text :
         {std::string(100'000, 'a'), std::string(100'000, ' '), std::string(100'000, '\n'), std::string(100'000, '1'),
          std::string(100'000, '<'), std::string(100'000, '\xFF'), marks, std::string(99'999, ' ') + "x"}) {
      const double begin = CpuSeconds();
      made.tokenizer->Encode(text, {.parse_special = true});
      EXPECT_LT(CpuSeconds() - begin, 2)  // 10 to 60 ms; sanitizers
          << family["name"] << ", text of '" << text[0] << "'";
    }
  }
}

}  // namespace
}  // namespace linnet::worker
