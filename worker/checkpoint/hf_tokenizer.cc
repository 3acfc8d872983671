#include "worker/checkpoint/hf_tokenizer.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/checkpoint/added_token_files.h"
#include "worker/checkpoint/hf_vocabulary.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/pre_tokenizer_name.h"
#include "worker/checkpoint/special_tokens.h"
#include "worker/checkpoint/tiktoken_ranks.h"
#include "worker/gguf/token_kind.h"
#include "worker/text/added_token_rules.h"
#include "worker/text/sentencepiece_model.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxTokenizerBytes = 128 << 20;
constexpr uint64_t kMaxMergesBytes = 64 << 20;
constexpr int kQwenExtraTokens = 205;

class TokenizerReader {
 public:
  TokenizerReader(std::string dir, int64_t vocab, GgufMetadata& metadata, std::vector<std::string>& notes)
      : dir_(std::move(dir)), vocabulary_(vocab), metadata_(metadata), notes_(notes) {}

  absl::Status Read() {
    if (Has("tokenizer.json")) {
      LINNET_RETURN_IF_ERROR(ReadTokenizerJson());
    } else if (Has("vocab.json") && Has("merges.txt")) {
      LINNET_RETURN_IF_ERROR(ReadVocabAndMerges());
    } else if (Has("qwen.tiktoken")) {
      LINNET_RETURN_IF_ERROR(ReadQwen());
    } else if (Has("tokenizer.model")) {
      LINNET_RETURN_IF_ERROR(ReadSentencePiece());
    } else {
      return CheckpointError(
          dir_,
          {"there is neither tokenizer.json nor tokenizer.model in it. Transformers writes one: python3 -c \"from "
           "transformers import AutoTokenizer as T; T.from_pretrained('FOLDER').save_pretrained('FOLDER')\"; or "
           "copy the one of the model it was made from"});
    }
    LINNET_RETURN_IF_ERROR(AddSpecialTokens(dir_, tokenizer_, vocabulary_, metadata_, notes_));
    if (vocabulary_.left_out() > 0) {
      notes_.push_back(
          base::StrCat("left out: ", vocabulary_.left_out(), " added tokens that have no row in the embeddings"));
    }
    if (!vocabulary_.problems().empty()) return CheckpointError(dir_, vocabulary_.problems());
    vocabulary_.Write(with_scores_, metadata_);
    return absl::OkStatus();
  }

 private:
  std::string Path(const char* name) const { return (fs::path(dir_) / name).string(); }
  bool Has(const char* name) const {
    std::error_code error;
    return fs::is_regular_file(Path(name), error);
  }
  absl::Status Wrong(const char* file, std::string what) const {
    return CheckpointError(Path(file), {std::move(what)});
  }

  absl::Status ReadTokenizerJson() {
    LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(Path("tokenizer.json"), kMaxTokenizerBytes));
    LINNET_ASSIGN_OR_RETURN(tokenizer_, ParseJson(text, Path("tokenizer.json")));
    const auto wrong = [&](std::string what) { return Wrong("tokenizer.json", std::move(what)); };
    if (!tokenizer_.is_object() || !tokenizer_.contains("model") || !tokenizer_["model"].is_object()) {
      return wrong("has no model object");
    }
    const json& model = tokenizer_["model"];
    const std::string type =
        model.contains("type") && model["type"].is_string() ? model["type"].get<std::string>() : "BPE";
    metadata_.SetString("tokenizer.huggingface.json", text);
    if (ComposesText(tokenizer_)) metadata_.SetBool("tokenizer.ggml.normalizer.nfc", true);
    if (type == "Unigram") {
      LINNET_RETURN_IF_ERROR(ReadUnigram(model));
    } else if (type == "BPE") {
      const bool bytes = model.contains("byte_fallback") && model["byte_fallback"] == true;
      LINNET_RETURN_IF_ERROR(bytes ? ReadPieces(model) : ReadByteLevel(model));
    } else {
      return wrong(base::StrCat("the tokenizer's model is ", Quoted(type), ", which is not supported (BPE, Unigram)"));
    }
    return PutAdded();
  }

  absl::Status PutAdded() {
    if (!tokenizer_.contains("added_tokens")) return absl::OkStatus();
    const json& added = tokenizer_["added_tokens"];
    if (!added.is_array()) return Wrong("tokenizer.json", "added_tokens is no list");
    for (const json& token : added) {
      if (!token.is_object() || !token.contains("id") || !token.contains("content") || !token["content"].is_string()) {
        return Wrong("tokenizer.json", "added_tokens has an element without id and content");
      }
      const bool special = token.contains("special") && token["special"] == true;
      vocabulary_.PutAdded(token["id"], token["content"].get_ref<const std::string&>(), special);
    }
    return absl::OkStatus();
  }

  absl::Status PutVocab(const json& vocab, const char* file, bool bytes) {
    if (!vocab.is_object()) return Wrong(file, "the vocabulary is no JSON object");
    for (const auto& [text, id] : vocab.items()) {
      vocabulary_.Put(id, text, bytes && SpellsByte(text) ? TokenKind::kByte : TokenKind::kNormal);
    }
    return absl::OkStatus();
  }

  // "a b" each, a space within a part as byte-level BPE spells it.
  absl::Status Merges(const json& model, std::vector<std::string>& merges) {
    if (!model.contains("merges") || !model["merges"].is_array())
      return Wrong("tokenizer.json", "has no list of merges");
    for (const json& merge : model["merges"]) {
      if (merge.is_string()) {
        merges.push_back(merge.get<std::string>());
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        const auto part = [&](int i) {
          return absl::StrReplaceAll(merge[static_cast<size_t>(i)].get_ref<const std::string&>(), {{" ", "Ġ"}});
        };
        merges.push_back(base::StrCat(part(0), " ", part(1)));
      } else {
        return Wrong("tokenizer.json", base::StrCat("merge ", merges.size(), " is neither a text nor two"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadByteLevel(const json& model) {
    LINNET_RETURN_IF_ERROR(PutVocab(model.contains("vocab") ? model["vocab"] : json(), "tokenizer.json", false));
    std::vector<std::string> merges;
    LINNET_RETURN_IF_ERROR(Merges(model, merges));
    metadata_.SetString("tokenizer.ggml.model", "gpt2");
    if (const std::string pre = PreTokenizerName(tokenizer_); !pre.empty()) {
      metadata_.SetString("tokenizer.ggml.pre", pre);
    } else {
      notes_.push_back(
          "the tokenizer cuts words in a way that has no name in GGUF: others than Linnet may tokenize differently");
    }
    metadata_.SetStrings("tokenizer.ggml.merges", merges);
    return absl::OkStatus();
  }

  // SentencePiece's BPE, whose scores are the order of merges.
  absl::Status ReadPieces(const json& model) {
    LINNET_RETURN_IF_ERROR(PutVocab(model.contains("vocab") ? model["vocab"] : json(), "tokenizer.json", true));
    std::vector<std::string> merges;
    LINNET_RETURN_IF_ERROR(Merges(model, merges));
    // The first merge that makes a piece has the best score; the later ones of it are other ways to the same piece.
    for (size_t i = merges.size(); i-- > 0;) {
      const size_t space = merges[i].find(' ');
      if (space == std::string::npos) continue;
      vocabulary_.SetScore(base::StrCat(merges[i].substr(0, space), merges[i].substr(space + 1)),
                           -static_cast<float>(i + 1));
    }
    with_scores_ = true;
    metadata_.SetString("tokenizer.ggml.model", "llama");
    metadata_.SetString("tokenizer.ggml.pre", "default");
    metadata_.SetBool("tokenizer.ggml.add_space_prefix", AddsSpacePrefix(tokenizer_));
    return absl::OkStatus();
  }

  absl::Status ReadUnigram(const json& model) {
    if (!model.contains("vocab") || !model["vocab"].is_array()) return Wrong("tokenizer.json", "has no vocabulary");
    int64_t id = 0;
    for (const json& piece : model["vocab"]) {
      if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number()) {
        return Wrong("tokenizer.json", base::StrCat("piece ", id, " is no text with a score"));
      }
      const auto& text = piece[0].get_ref<const std::string&>();
      const bool unknown = model.contains("unk_id") && model["unk_id"] == id;
      const TokenKind kind = unknown ? TokenKind::kUnknown : SpellsByte(text) ? TokenKind::kByte : TokenKind::kNormal;
      vocabulary_.Put(json(static_cast<uint64_t>(id)), text, kind);
      vocabulary_.SetScore(text, piece[1].get<float>());
      ++id;
    }
    with_scores_ = true;
    metadata_.SetString("tokenizer.ggml.model", "t5");
    metadata_.SetString("tokenizer.ggml.pre", "default");
    metadata_.SetBool("tokenizer.ggml.add_space_prefix", AddsSpacePrefix(tokenizer_));
    return absl::OkStatus();
  }

  // What GPT-2's tokenizer was published as, and OPT's still is.
  absl::Status ReadVocabAndMerges() {
    LINNET_ASSIGN_OR_RETURN(const json vocab, ReadJson(Path("vocab.json"), kMaxTokenizerBytes));
    LINNET_RETURN_IF_ERROR(PutVocab(vocab, "vocab.json", false));
    LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(Path("merges.txt"), kMaxMergesBytes));
    std::vector<std::string> merges;
    for (std::string_view line : base::StrSplit(text, '\n')) {
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty() || (merges.empty() && line.starts_with("#version"))) continue;
      if (base::StrSplit(line, ' ').size() != 2) {
        return Wrong("merges.txt", base::StrCat("line ", Quoted(line), " is not two parts"));
      }
      merges.emplace_back(line);
    }
    LINNET_ASSIGN_OR_RETURN(const AddedTokenIds added, AddTokensOfFiles(dir_, vocabulary_));
    AddedTokenRules{added.lstrip, added.rstrip, added.single_word, {}}.Write(metadata_);
    metadata_.SetString("tokenizer.ggml.model", "gpt2");
    metadata_.SetString("tokenizer.ggml.pre", "gpt-2");
    metadata_.SetStrings("tokenizer.ggml.merges", merges);
    return absl::OkStatus();
  }

  // SentencePiece's, as Llama's models were published, around which Transformers' Python classes add what these say.
  absl::Status ReadSentencePiece() {
    LINNET_ASSIGN_OR_RETURN(const std::string bytes, base::ReadFile(Path("tokenizer.model"), kMaxTokenizerBytes));
    LINNET_ASSIGN_OR_RETURN(const SentencePieceModel model, ReadSentencePieceModel(Path("tokenizer.model"), bytes));
    SetSentencePieceTokenizer(model, &metadata_);
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      vocabulary_.Put(json(static_cast<uint64_t>(id)), model.pieces[id], static_cast<TokenKind>(model.types[id]));
      vocabulary_.SetScore(model.pieces[id], model.scores[id]);
    }
    with_scores_ = true;
    LINNET_ASSIGN_OR_RETURN(const AddedTokenIds added, AddTokensOfFiles(dir_, vocabulary_));
    AddedTokenRules rules{added.lstrip, added.rstrip, added.single_word, {}};
    json config;
    if (Has("tokenizer_config.json")) {
      LINNET_ASSIGN_OR_RETURN(config, ReadJson(Path("tokenizer_config.json"), kMaxTokenizerBytes));
    }
    // Their first behaviour, which they keep unless told otherwise: text behind an added token begins like a text.
    const json* legacy = Member(config, "legacy");
    const bool begins_once = legacy != nullptr && *legacy == false;
    std::vector<int32_t>& behind = rules.begins_behind.emplace();
    if (!begins_once) {
      behind = added.all;
      for (size_t id = 0; id < model.types.size(); ++id) {
        if (static_cast<TokenKind>(model.types[id]) == TokenKind::kControl) behind.push_back(static_cast<int32_t>(id));
      }
    }
    const json* prefix = Member(config, "add_prefix_space");
    if (begins_once && prefix != nullptr && *prefix == false) {
      metadata_.SetBool("tokenizer.ggml.add_space_prefix", false);
    }
    rules.Write(metadata_);
    return absl::OkStatus();
  }

  // The first Qwen's, whose special tokens stand in its code.
  absl::Status ReadQwen() {
    LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(Path("qwen.tiktoken"), kMaxTokenizerBytes));
    LINNET_ASSIGN_OR_RETURN(const TiktokenRanks ranks, ParseTiktoken(text, Path("qwen.tiktoken")));
    uint64_t id = 0;
    for (const std::string& token : ranks.tokens) vocabulary_.Put(json(id++), token, TokenKind::kNormal);
    metadata_.SetU32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(id));
    metadata_.SetU32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(id));
    for (const char* special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
      vocabulary_.PutAdded(json(id++), special, /*special=*/true);
    }
    for (int i = 0; i < kQwenExtraTokens; ++i) {
      vocabulary_.PutAdded(json(id++), base::StrCat("<|extra_", i, "|>"), /*special=*/true);
    }
    metadata_.SetString("tokenizer.ggml.model", "gpt2");
    metadata_.SetString("tokenizer.ggml.pre", "qwen2");
    metadata_.SetBool("tokenizer.ggml.add_bos_token", false);
    metadata_.SetStrings("tokenizer.ggml.merges", ranks.merges);
    return absl::OkStatus();
  }

  const std::string dir_;
  json tokenizer_;  // tokenizer.json; null without one
  HfVocabulary vocabulary_;
  bool with_scores_ = false;
  GgufMetadata& metadata_;
  std::vector<std::string>& notes_;
};

}  // namespace

absl::Status AddTokenizer(const std::string& dir, int64_t vocab, GgufMetadata& metadata,
                          std::vector<std::string>& notes) {
  return TokenizerReader(dir, vocab, metadata, notes).Read();
}

}  // namespace linnet::worker
