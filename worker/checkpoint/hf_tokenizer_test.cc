#include "worker/checkpoint/hf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/testing.h"
#include "worker/checkpoint/pre_tokenizer_name.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HfTokenizerTest : public ::testing::Test {
 protected:
  // Of a vocabulary of six.
  const GgufFile& Add() {
    GgufMetadata metadata;
    metadata.SetString("general.architecture", "llama");
    notes_.clear();
    const absl::Status status = AddTokenizer(tree_.root(), 6, metadata, notes_);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE((*GgufWriter::Create(out_.Path("x.gguf"), metadata, {}))->Finish().ok());
    file_ = *GgufFile::Open(out_.Path("x.gguf"));
    return *file_;
  }
  std::string Complaint() {
    GgufMetadata metadata;
    const absl::Status status = AddTokenizer(tree_.root(), 6, metadata, notes_);
    EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE");
    return std::string(status.message());
  }
  void Write(const char* name, const json& content) { tree_.Write(name, content.dump()); }
  std::vector<std::string> Strings(const char* key) {
    std::vector<std::string> texts;
    for (const std::string_view text : **file_->FindStrings(key)) texts.emplace_back(text);
    return texts;
  }

  base::FileTree tree_, out_;
  std::unique_ptr<GgufFile> file_;
  std::vector<std::string> notes_;
};

json ByteLevel() {
  return {{"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
            {"merges", json::array({json::array({"a", "b"}), json::array({"a", "b c"})})}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"added_tokens",
           {{{"id", 3}, {"content", "<eos>"}, {"special", true}},
            {{"id", 4}, {"content", "\u2581x"}, {"special", false}},
            {{"id", 2}, {"content", "ab"}, {"special", false}}}}};
}

TEST_F(HfTokenizerTest, ByteLevelBpe) {
  Write("tokenizer.json", ByteLevel());
  Add();
  EXPECT_EQ(*file_->GetString("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(*file_->GetString("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(*file_->GetString("tokenizer.huggingface.json"), ByteLevel().dump());
  EXPECT_THAT(Strings("tokenizer.ggml.tokens"), ElementsAre("a", "b", "ab", "<eos>", " x", "[PAD5]"));
  EXPECT_THAT(**file_->FindInts("tokenizer.ggml.token_type"), ElementsAre(1, 1, 4, 3, 4, 5));
  EXPECT_THAT(Strings("tokenizer.ggml.merges"), ElementsAre("a b", "a b\u0120c"));
  EXPECT_FALSE(file_->metadata().contains("tokenizer.ggml.bos_token_id"));
  EXPECT_EQ(*file_->GetBoolOr("tokenizer.ggml.add_bos_token", true), false);
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(HfTokenizerTest, TextThatIsComposedFirst) {
  json tokenizer = ByteLevel();
  Write("tokenizer.json", tokenizer);
  EXPECT_FALSE(Add().metadata().contains("tokenizer.ggml.normalizer.nfc"));
  tokenizer["normalizer"] = {{"type", "NFC"}};
  Write("tokenizer.json", tokenizer);
  EXPECT_EQ(*Add().GetBoolOr("tokenizer.ggml.normalizer.nfc", false), true);
}

TEST_F(HfTokenizerTest, SentencePieceAsTokenizerJson) {
  Write("tokenizer.json",
        {{"model",
          {{"type", "BPE"},
           {"byte_fallback", true},
           {"unk_token", "<unk>"},
           {"vocab", {{"<unk>", 0}, {"<0x0A>", 1}, {"a", 2}, {"b", 3}, {"ab", 4}, {"ba", 5}}},
           {"merges", {"b a", "a b"}}}},
         {"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}}}}},
         {"post_processor",
          {{"type", "TemplateProcessing"},
           {"single", {{{"SpecialToken", {{"id", "<unk>"}}}}, {{"Sequence", {{"id", "A"}}}}}}}}});
  Write("tokenizer_config.json", {{"bos_token", "<unk>"}, {"add_bos_token", false}});
  Add();
  EXPECT_EQ(*file_->GetString("tokenizer.ggml.model"), "llama");
  EXPECT_THAT(**file_->FindInts("tokenizer.ggml.token_type"), ElementsAre(1, 6, 1, 1, 1, 1));
  // The better, the sooner it is merged.
  EXPECT_THAT(**file_->FindDoubles("tokenizer.ggml.scores"), ElementsAre(0, 0, 0, 0, -2, -1));
  EXPECT_EQ(*file_->GetBoolOr("tokenizer.ggml.add_space_prefix", false), true);
  EXPECT_EQ(*file_->GetInt("tokenizer.ggml.bos_token_id"), 0);
  // What puts the text between tokens decides.
  EXPECT_EQ(*file_->GetBoolOr("tokenizer.ggml.add_bos_token", false), true);
  EXPECT_EQ(*file_->GetBoolOr("tokenizer.ggml.add_eos_token", true), false);
}

TEST_F(HfTokenizerTest, Unigram) {
  Write("tokenizer.json", {{"model",
                            {{"type", "Unigram"},
                             {"unk_id", 0},
                             {"vocab", json::array({json::array({"<unk>", 0.0}), json::array({"\u2581a", -1.5})})}}},
                           {"pre_tokenizer", {{"type", "Metaspace"}, {"prepend_scheme", "never"}}}});
  Add();
  EXPECT_EQ(*file_->GetString("tokenizer.ggml.model"), "t5");
  EXPECT_THAT(**file_->FindInts("tokenizer.ggml.token_type"), ElementsAre(2, 1, 5, 5, 5, 5));
  EXPECT_EQ((**file_->FindDoubles("tokenizer.ggml.scores"))[1], -1.5);
  EXPECT_EQ(*file_->GetBoolOr("tokenizer.ggml.add_space_prefix", true), false);
}

TEST_F(HfTokenizerTest, SpecialTokensFromAllFiles) {
  Write("tokenizer.json", ByteLevel());
  Write("tokenizer_config.json", {{"eos_token", {{"content", "<eos>"}}}, {"add_eos_token", true}});
  Write("generation_config.json", {{"bos_token_id", 1}, {"eos_token_id", {3, 2}}, {"pad_token_id", -1}});
  Write("config.json", {{"bos_token_id", 0}, {"pad_token_id", 4}});
  Add();
  EXPECT_EQ(*file_->GetInt("tokenizer.ggml.eos_token_id"), 3);
  EXPECT_EQ(*file_->GetInt("tokenizer.ggml.eot_token_id"), 2);  // generation ends there as well
  EXPECT_EQ(*file_->GetInt("tokenizer.ggml.bos_token_id"), 1);
  EXPECT_EQ(*file_->GetInt("tokenizer.ggml.padding_token_id"), 4);
  EXPECT_EQ(*file_->GetBoolOr("tokenizer.ggml.add_eos_token", false), true);
}

TEST_F(HfTokenizerTest, ChatTemplates) {
  Write("tokenizer.json", ByteLevel());
  tree_.Write("chat_template.jinja", "of the file");
  EXPECT_EQ(*Add().GetString("tokenizer.chat_template"), "of the file");
  Write("tokenizer_config.json", {{"chat_template", "{{ messages }}"}});
  EXPECT_EQ(*Add().GetString("tokenizer.chat_template"), "{{ messages }}");
  Write("tokenizer_config.json",
        {{"chat_template",
          {{{"name", "tool_use"}, {"template", "tools"}}, {{"name", "default"}, {"template", "usual"}}}}});
  EXPECT_EQ(*Add().GetString("tokenizer.chat_template"), "usual");
  Write("tokenizer_config.json", {{"chat_template", {{{"name", "tool_use"}, {"template", "tools"}}}}});
  EXPECT_FALSE(Add().metadata().contains("tokenizer.chat_template"));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("chat template")));
}

TEST_F(HfTokenizerTest, VocabJsonAndMergesTxt) {
  Write("vocab.json", {{"a", 0}, {"b", 1}, {"ab", 2}, {"</s>", 3}});
  tree_.Write("merges.txt", "#version: 0.2\na b\r\n# a\n\n");
  Write("added_tokens.json", {{"<pad>", 4}});
  Write("tokenizer_config.json", {{"bos_token", "</s>"}, {"add_bos_token", true}});
  Add();
  EXPECT_EQ(*file_->GetString("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_THAT(Strings("tokenizer.ggml.tokens"), ElementsAre("a", "b", "ab", "</s>", "<pad>", "[PAD5]"));
  EXPECT_THAT(**file_->FindInts("tokenizer.ggml.token_type"), ElementsAre(1, 1, 1, 3, 3, 5));
  EXPECT_THAT(Strings("tokenizer.ggml.merges"), ElementsAre("a b", "# a"));
  EXPECT_EQ(*file_->GetBoolOr("tokenizer.ggml.add_bos_token", false), true);
  EXPECT_FALSE(file_->metadata().contains("tokenizer.huggingface.json"));
}

TEST_F(HfTokenizerTest, TheFirstQwens) {
  // a, b, ab and the three that end turns.
  tree_.Write("qwen.tiktoken", "YQ== 0\nYg== 1\nYWI= 2\n");
  Add();
  EXPECT_THAT(Strings("tokenizer.ggml.tokens"),
              ElementsAre("a", "b", "ab", "<|endoftext|>", "<|im_start|>", "<|im_end|>"));
  EXPECT_THAT(Strings("tokenizer.ggml.merges"), ElementsAre("a b"));
  EXPECT_EQ(*file_->GetInt("tokenizer.ggml.eos_token_id"), 3);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("left out: 205 added tokens")));
}

TEST_F(HfTokenizerTest, WhatCannotBeReadIsSaid) {
  json tokenizer = ByteLevel();
  tokenizer["model"]["vocab"] = {{"a", 0}, {"b", 0}, {"c", 6}, {"d", "x"}};
  Write("tokenizer.json", tokenizer);
  EXPECT_THAT(Complaint(), ::testing::AllOf(HasSubstr("tokens \"a\" and \"b\" both have the id 0"),
                                            HasSubstr("token \"c\" has the id 6, and the embeddings have 6 rows"),
                                            HasSubstr("token \"d\" has the id (none)")));
  tokenizer = ByteLevel();
  tokenizer["model"]["merges"] = {1};
  Write("tokenizer.json", tokenizer);
  EXPECT_THAT(Complaint(), HasSubstr("merge 0 is neither a text nor two"));
  Write("tokenizer.json", {{"model", {{"type", "WordPiece"}}}});
  EXPECT_THAT(Complaint(), HasSubstr("the tokenizer's model is \"WordPiece\", which is not supported"));
  Write("tokenizer.json", json::array());
  EXPECT_THAT(Complaint(), HasSubstr("has no model object"));
}

TEST(PreTokenizerName, IsThatOfTheSteps) {
  const auto split = [](const char* expression) {
    return json{{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}};
  };
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const json words = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const auto name = [](const json& steps, const json& more = json::object()) {
    json tokenizer = {{"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}}};
    tokenizer.update(more);
    return PreTokenizerName(tokenizer);
  };
  const char* llama3 =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const char* qwen2 =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  EXPECT_EQ(name(json::array({words})), "gpt-2");
  EXPECT_EQ(name({digits, words}), "smollm");
  EXPECT_EQ(name({split(llama3), bytes}), "dbrx");
  EXPECT_EQ(name({split(llama3), bytes}, {{"model", {{"ignore_merges", true}}}}), "llama-bpe");
  EXPECT_EQ(name({split(qwen2), bytes}), "stablelm2");
  EXPECT_EQ(name({split(qwen2), bytes}, {{"normalizer", {{"type", "NFC"}}}}), "qwen2");
  EXPECT_EQ(name({split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), bytes}), "bloom");
  EXPECT_EQ(name({split("x"), bytes}), "");
  EXPECT_EQ(name(json::array({bytes})), "");
  EXPECT_EQ(PreTokenizerName(json::object()), "");
}

}  // namespace
}  // namespace linnet::worker
