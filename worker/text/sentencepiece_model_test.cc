// tokenizer.model as GGUF metadata, and the tokenizers that come of it: what SentencePiece itself makes of the model in
// tests/golden/tokenizer_sentencepiece_models.json (tests/golden/compare_tokenizers.py).
#include "worker/text/sentencepiece_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>

#include "absl/strings/escaping.h"
#include "base/error.h"
#include "base/testing.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/text/test_support.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<TokenId>;

// Fields of a protobuf message.
std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out += static_cast<char>(value);
}
std::string Number(int field, uint64_t value) { return Varint(static_cast<uint64_t>(field) << 3) + Varint(value); }
std::string Text(int field, const std::string& text) {
  return Varint(static_cast<uint64_t>(field) << 3 | 2) + Varint(text.size()) + text;
}
std::string Float(int field, float value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return Varint(static_cast<uint64_t>(field) << 3 | 5) + bytes;
}
std::string Piece(const std::string& text, float score, int type = 1) {
  return Text(1, Text(1, text) + Float(2, score) + Number(3, static_cast<uint64_t>(type)));
}
std::string SmallModel() {
  return Piece("<unk>", 0, 2) + Piece("<s>", 0, 3) + Piece("</s>", 0, 3) + Piece("a", -2) + Piece("b", -3);
}

// The metadata as a file that has nothing else.
struct ModelFile {
  explicit ModelFile(const std::string& model) {
    GgufMetadata metadata;
    SetSentencePieceTokenizer(*ReadSentencePieceModel("tokenizer.model", model), &metadata);
    const std::string path = folder.Path("model.gguf");
    auto writer = GgufWriter::Create(path, metadata, {});
    EXPECT_TRUE(writer.ok() && (*writer)->Finish().ok());
    file = *GgufFile::Open(path);
    auto made = Tokenizer::FromGguf(*file);
    EXPECT_TRUE(made.ok()) << made.status();
    tokenizer = *std::move(made);
  }
  base::FileTree folder;
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<Tokenizer> tokenizer;
};

std::string ErrorOf(const std::string& model) {
  const absl::Status status = ReadSentencePieceModel("tokenizer.model", model).status();
  EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.model"));
  return std::string(status.message());
}

TEST(SentencePieceModelTest, EqualsSentencePiece) {
  const nlohmann::json golden = ReadGolden("tokenizer_sentencepiece_models.json");
  ASSERT_EQ(golden["models"].size(), 2u);
  for (const auto& model : golden["models"]) {
    std::string bytes;
    ASSERT_TRUE(absl::Base64Unescape(model["base64"].get<std::string>(), &bytes));
    const ModelFile made(bytes);
    for (size_t i = 0; i < golden["texts"].size(); ++i) {
      const std::string text = golden["texts"][i];
      EXPECT_EQ(made.tokenizer->Encode(text, {}), model["plain"][i].get<Ids>()) << model["name"] << ": " << text;
    }
  }
}

TEST(SentencePieceModelTest, KeysAreThoseOfGguf) {
  const std::string trainer = Number(3, 2) + Number(40, 0) + Number(41, 1) + Number(42, 2) + Number(43, ~0ull);
  const ModelFile bpe(SmallModel() + Text(2, trainer) + Text(3, Number(3, 0) + Number(4, 0)));
  EXPECT_EQ(*bpe.file->GetString("tokenizer.ggml.model"), "llama");
  EXPECT_EQ((*bpe.file->FindStrings("tokenizer.ggml.tokens"))->at(3), "a");
  EXPECT_EQ((*bpe.file->FindDoubles("tokenizer.ggml.scores"))->at(4), -3);
  EXPECT_EQ((*bpe.file->FindInts("tokenizer.ggml.token_type"))->at(1), 3);
  EXPECT_FALSE(*bpe.file->GetBoolOr("tokenizer.ggml.add_space_prefix", true));
  EXPECT_FALSE(*bpe.file->GetBoolOr("tokenizer.ggml.remove_extra_whitespaces", true));
  EXPECT_FALSE(bpe.file->metadata().contains("tokenizer.ggml.padding_token_id"));
  EXPECT_FALSE(bpe.file->metadata().contains("tokenizer.ggml.precompiled_charsmap"));
  EXPECT_THAT(bpe.tokenizer->Encode("ab", {.add_special = true}), ElementsAre(1, 3, 4));
  // What the message leaves out has SentencePiece's defaults: Unigram, a space before the text, no more than one.
  const ModelFile unigram(SmallModel() + Piece("\xE2\x96\x81", -4) +
                          Piece("\xE2\x96\x81"
                                "a",
                                -4));
  EXPECT_EQ(*unigram.file->GetString("tokenizer.ggml.model"), "t5");
  EXPECT_THAT(unigram.tokenizer->Encode("  a  b ", {.add_special = true}), ElementsAre(6, 5, 4, 2));
  EXPECT_THAT(unigram.tokenizer->Encode("xy", {}), ElementsAre(5, 0));
}

TEST(SentencePieceModelTest, WhatIsNotSupportedIsNamed) {
  EXPECT_THAT(ErrorOf(SmallModel() + Text(2, Number(3, 4))), HasSubstr("model_type 4"));
  EXPECT_THAT(ErrorOf(SmallModel() + Text(2, Number(24, 1))), HasSubstr("treat_whitespace_as_suffix"));
  EXPECT_THAT(ErrorOf(SmallModel() + Text(3, Number(5, 0))), HasSubstr("escape_whitespaces"));
  EXPECT_THAT(ErrorOf(SmallModel() + Text(5, Text(2, "x"))), HasSubstr("denormalizer"));
  EXPECT_THAT(ErrorOf(SmallModel() + Text(3, Text(2, "xyz"))), HasSubstr("normalizer_spec"));
}

TEST(SentencePieceModelTest, WhatIsMalformedIsRefused) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("no pieces"));
  EXPECT_THAT(ErrorOf(SmallModel() + "\x0A\x7F"), HasSubstr("no protobuf message"));
  EXPECT_THAT(ErrorOf(SmallModel() + "\x0B"), HasSubstr("no protobuf message"));
  EXPECT_THAT(ErrorOf(Text(1, "\x0A\x7F")), HasSubstr("piece 0"));
  EXPECT_THAT(ErrorOf(Piece("a", std::numeric_limits<float>::quiet_NaN())), HasSubstr("piece 0"));
  EXPECT_THAT(ErrorOf(Piece("a", 0, 9)), HasSubstr("has type 9"));
  const std::string whole = SmallModel() + Text(2, Number(3, 2));
  for (size_t n = 0; n < whole.size(); ++n) {  // cut anywhere: an error, or fewer pieces
    (void)ReadSentencePieceModel("tokenizer.model", whole.substr(0, n));
  }
}

}  // namespace
}  // namespace linnet::worker
