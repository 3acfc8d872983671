// A folder with tokenizer.model and no tokenizer.json, as GGUF metadata and as a tokenizer. Ids are those of
// SentencePiece and of Transformers' tokenizer in Python (tests/golden/make_tokenizer_folder.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/error.h"
#include "base/file.h"
#include "base/testing.h"
#include "worker/checkpoint/hf_tokenizer.h"
#include "worker/gguf/gguf_file.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Ids = std::vector<TokenId>;

constexpr Tokenizer::EncodeOptions kWithControl = {.parse_special = true};

class SentencePieceFolder : public ::testing::Test {
 protected:
  SentencePieceFolder() {
    std::string model;
    EXPECT_TRUE(absl::Base64Unescape(golden_["model_base64"].get<std::string>(), &model));
    tree_.Write("tokenizer.model", model);
  }
  const Tokenizer& Load(const json& config) {
    tree_.Write("tokenizer_config.json", config.dump());
    GgufMetadata metadata;
    const absl::Status status = AddTokenizer(tree_.root(), golden_["vocabulary"], metadata, notes_);
    EXPECT_TRUE(status.ok()) << status;
    bytes_ = metadata.AsFile();
    file_ = *GgufFile::Parse(std::as_bytes(std::span(bytes_)), "folder");
    auto made = Tokenizer::FromGguf(*file_);
    EXPECT_TRUE(made.ok()) << made.status();
    tokenizer_ = *std::move(made);
    return *tokenizer_;
  }
  std::string Complaint(int64_t vocabulary) {
    GgufMetadata metadata;
    const absl::Status status = AddTokenizer(tree_.root(), vocabulary, metadata, notes_);
    EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << status;
    return std::string(status.message());
  }

  const json golden_ = json::parse(*base::ReadFile("tests/golden/tokenizer_folder.json"));
  const json config_ = golden_["tokenizer_config"];
  base::FileTree tree_;
  std::vector<std::string> notes_;
  std::string bytes_;
  std::unique_ptr<GgufFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(SentencePieceFolder, PlainTextsAreSentencePieces) {
  const Tokenizer& tokenizer = Load(config_);
  for (size_t i = 0; i < golden_["plain"].size(); ++i) {
    const std::string text = golden_["plain"][i];
    EXPECT_EQ(tokenizer.Encode(text, {}), golden_["sentencepiece"][i].get<Ids>()) << text;
  }
}

TEST_F(SentencePieceFolder, AddedTokensAreTransformers) {
  json texts = golden_["plain"];
  texts.insert(texts.end(), golden_["special"].begin(), golden_["special"].end());
  for (const bool legacy : {true, false}) {
    json config = config_;
    config["legacy"] = legacy;
    const Tokenizer& tokenizer = Load(config);
    const json& ids = golden_["transformers"][legacy ? "legacy" : "not legacy"];
    ASSERT_EQ(ids.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string text = texts[i];
      EXPECT_EQ(tokenizer.Encode(text, kWithControl), ids[i].get<Ids>()) << text << (legacy ? "" : ", not legacy");
    }
  }
}

TEST_F(SentencePieceFolder, ATokenThatStandsAlone) {
  const TokenId one = golden_["vocabulary"].get<int>() - 2;
  const Tokenizer& tokenizer = Load(config_);
  EXPECT_THAT(tokenizer.Encode("a <one> b", {}), Contains(one));
  for (const char* text : {"a<one> b", "a <one>b"}) EXPECT_THAT(tokenizer.Encode(text, {}), Not(Contains(one)));
}

// Unless a file says otherwise.
TEST_F(SentencePieceFolder, TheFirstBehaviourIsKept) {
  const std::string text = golden_["special"][0];
  EXPECT_EQ(Load(config_).Encode(text, kWithControl),
            golden_["transformers"]["legacy"][golden_["plain"].size()].get<Ids>());
}

TEST_F(SentencePieceFolder, ControlTokensOnlyWhereAsked) {
  const TokenId user = golden_["vocabulary"].get<int>() - 5;
  const Tokenizer& tokenizer = Load(config_);
  EXPECT_THAT(tokenizer.Encode("<|user|>a", {}), Not(Contains(user)));
  EXPECT_THAT(tokenizer.Encode("<|user|>a", kWithControl), Contains(user));
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_THAT(tokenizer.end_of_generation(), Contains(2));
  EXPECT_EQ(tokenizer.Encode("a", {.add_special = true})[0], 1);
  json config = config_;
  config["add_bos_token"] = false;
  EXPECT_NE(Load(config).Encode("a", {.add_special = true})[0], 1);
}

TEST_F(SentencePieceFolder, AListOfAddedTokens) {
  const int first = golden_["vocabulary"].get<int>() - 5;
  tree_.Write("added_tokens.json", json{{"<x>", first}, {"[Y]", first + 1}}.dump());
  tree_.Write("special_tokens_map.json", json{{"additional_special_tokens", {"<x>"}}}.dump());
  const Tokenizer& tokenizer = Load({{"bos_token", "<s>"}});
  EXPECT_TRUE(tokenizer.IsControl(first));
  EXPECT_FALSE(tokenizer.IsControl(first + 1));
  EXPECT_THAT(tokenizer.Encode("<x>[Y]", kWithControl), ElementsAre(first, first + 1));
}

TEST_F(SentencePieceFolder, WhatIsWrongIsSaid) {
  EXPECT_THAT(Complaint(10), HasSubstr("has the id 10, and the embeddings have 10 rows"));
  tree_.Write("tokenizer_config.json", json{{"added_tokens_decoder", {{"x", {{"content", "<x>"}}}}}}.dump());
  EXPECT_THAT(Complaint(405), HasSubstr("added_tokens_decoder has the key \"x\""));
  tree_.Write("tokenizer_config.json", json{{"added_tokens_decoder", {{"7", {{"content", "<x>"}}}}}}.dump());
  EXPECT_THAT(Complaint(405), HasSubstr("\"<x>\" both have the id 7"));
  tree_.Write("tokenizer_config.json", "{}");
  tree_.Write("added_tokens.json", json{{"<x>", -1}}.dump());
  EXPECT_THAT(Complaint(405), HasSubstr("token \"<x>\" has no id"));
  tree_.Write("added_tokens.json", "{}");
  tree_.Write("tokenizer.model", "\x0A\x7F");
  EXPECT_THAT(Complaint(405), HasSubstr("tokenizer.model: SentencePiece model: the file is no protobuf message"));
}

}  // namespace
}  // namespace linnet::worker
