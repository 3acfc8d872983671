// Hugging Face's tokenizer.json, whole in the metadata of a GGUF file (tokenizer.huggingface.json), run as their
// library "tokenizers" runs it: added tokens, normalizer, pre-tokenizer, model, post-processor, decoder. Two things
// differ. Control tokens are found in the text as it was sent, never in what normalization made of it, and no model
// turns text into one. And decoding takes no account of a text's beginning (decoder.h).
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/json_depth.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/hf/added_tokens.h"
#include "worker/text/hf/decoder.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/model.h"
#include "worker/text/hf/normalizer.h"
#include "worker/text/hf/post_processor.h"
#include "worker/text/hf/pre_tokenizer.h"
#include "worker/text/sentencepiece_normalizer.h"
#include "worker/text/tokenizers.h"
#include "worker/text/utf8.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker {
namespace hf {
namespace {

constexpr size_t kMaxJsonBytes = 256 << 20;
constexpr int kMaxJsonDepth = 32;

std::string Without(std::string_view text, std::string_view breaker) {
  std::string out;
  size_t done = 0;
  for (size_t at; !breaker.empty() && (at = text.find(breaker, done)) != std::string_view::npos;
       done = at + breaker.size()) {
    out.append(text.substr(done, at - done));
  }
  return out.append(text.substr(done));
}

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  if (text.size() > kMaxJsonBytes) return absl::InvalidArgumentError(base::StrCat(text.size(), " bytes are too many"));
  if (base::NestsDeeperThan(text, kMaxJsonDepth)) return absl::InvalidArgumentError("it is nested too deeply");
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    return absl::InvalidArgumentError(base::StrCat("it is no JSON: ", std::string_view(e.what()).substr(0, 200)));
  }
}

class HfTokenizer : public Tokenizer {
 public:
  // Parts of the file; see there for what they say of themselves.
  struct Parts {
    Vocabulary vocabulary;
    std::vector<AddedToken> added;
    std::unique_ptr<Normalizer> normalizer;
    std::unique_ptr<PreTokenizer> pre_tokenizer;
    std::unique_ptr<Model> model;  // of `vocabulary`, in place
    PostProcessor around;
    std::unique_ptr<Decoder> decoder;
  };

  explicit HfTokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {
    std::vector<std::pair<std::string, const AddedToken*>> raw, normalized;
    std::map<TokenId, std::string> forms;  // of tokens that normalization changes, which is what decoders undo
    for (const AddedToken& token : parts_->added) {
      if (parts_->vocabulary.IsControl(token.id) || !token.normalized) {
        raw.emplace_back(token.content, &token);
      } else {
        std::string form = token.content;
        parts_->normalizer->Apply(form);
        if (form != token.content) forms.emplace(token.id, form);
        normalized.emplace_back(std::move(form), &token);
      }
    }
    in_raw_text_ = AddedTokenFinder(raw);
    in_normalized_text_ = AddedTokenFinder(normalized);
    const Vocabulary& vocabulary = parts_->vocabulary;
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      if (vocabulary.IsControl(id)) control_texts_.push_back(vocabulary.text(id));
      byte_begin_.push_back(bytes_.size());
      if (vocabulary.kind(id) == TokenKind::kUnused) continue;
      const auto form = forms.find(id);
      std::string bytes = form == forms.end() ? vocabulary.text(id) : form->second;
      const bool as_written = vocabulary.kind(id) == TokenKind::kUserDefined && form == forms.end();
      if (!vocabulary.IsControl(id)) parts_->decoder->Apply(bytes, as_written);
      bytes_ += bytes;
    }
    byte_begin_.push_back(bytes_.size());
  }

  std::vector<TokenId> Encode(std::string_view sent, const EncodeOptions& options) const override {
    const std::string text = ReplaceBrokenUtf8(sent);
    std::vector<TokenId> out;
    if (options.add_special) out = parts_->around.prefix;
    const auto skip = [&](const AddedToken& token) {
      if (!IsControl(token.id)) return false;
      // A single character cannot be broken up: where that matters, it is never a control token.
      return !options.parse_special ||
             (!options.breaker.empty() && Utf8CharBytes(token.content, 0) == token.content.size());
    };
    for (const AddedTokenFinder::Fragment& fragment : in_raw_text_.Find(text, skip)) {
      if (fragment.id >= 0) {
        out.push_back(fragment.id);
        continue;
      }
      const std::string_view part = std::string_view(text).substr(fragment.begin, fragment.end - fragment.begin);
      EncodeOrdinary(Without(part, options.breaker), fragment.begin == 0, out);
    }
    if (options.add_special) out.insert(out.end(), parts_->around.suffix.begin(), parts_->around.suffix.end());
    return out;
  }

  std::string_view TokenBytes(TokenId id, bool special) const override {
    if (!parts_->vocabulary.contains(id) || (IsControl(id) && !special)) return {};
    const size_t begin = byte_begin_[static_cast<size_t>(id)];
    return std::string_view(bytes_).substr(begin, byte_begin_[static_cast<size_t>(id) + 1] - begin);
  }

  int vocab_size() const override { return parts_->vocabulary.size(); }
  bool IsControl(TokenId id) const override {
    return parts_->vocabulary.contains(id) && parts_->vocabulary.IsControl(id);
  }
  const std::vector<TokenId>& end_of_generation() const override { return parts_->vocabulary.end_of_generation(); }
  TokenId bos() const override { return parts_->vocabulary.bos(); }
  TokenId eos() const override { return parts_->vocabulary.eos(); }
  const std::vector<std::string>& control_texts() const override { return control_texts_; }

 private:
  // `first`: it stands at the beginning of what was sent.
  void EncodeOrdinary(std::string text, bool first, std::vector<TokenId>& out) const {
    if (text.empty()) return;
    parts_->normalizer->Apply(text);
    const auto none = [](const AddedToken&) { return false; };
    for (const AddedTokenFinder::Fragment& fragment : in_normalized_text_.Find(text, none)) {
      if (fragment.id >= 0) {
        out.push_back(fragment.id);
        continue;
      }
      Segments segments(text.substr(fragment.begin, fragment.end - fragment.begin), first && fragment.begin == 0);
      parts_->pre_tokenizer->Apply(segments);
      for (const Segments::Segment& segment : segments.segments()) parts_->model->Encode(segments.text(segment), out);
    }
  }

  const std::unique_ptr<Parts> parts_;
  AddedTokenFinder in_raw_text_, in_normalized_text_;
  std::string bytes_;               // of all tokens, one after another
  std::vector<size_t> byte_begin_;  // [vocab_size + 1] into bytes_
  std::vector<std::string> control_texts_;
};

// Texts and kinds by id, of the model's tokens and those added.
absl::Status FillVocabulary(const GgufFile& file, const ModelSource& source, const std::vector<AddedToken>& added,
                            Vocabulary* vocabulary) {
  TokenId last = -1;
  for (const auto& [text, id] : source.tokens()) last = std::max(last, id);
  for (const AddedToken& token : added) last = std::max(last, token.id);
  std::vector<std::string> texts(static_cast<size_t>(last + 1));
  std::vector<TokenKind> kinds(texts.size(), TokenKind::kUnused);
  for (const auto& [text, id] : source.tokens()) {
    const auto at = static_cast<size_t>(id);
    if (kinds[at] != TokenKind::kUnused) {
      return absl::InvalidArgumentError(
          base::StrCat("model.vocab: ", QuoteToken(texts[at]), " and ", QuoteToken(text), " are both token ", id));
    }
    texts[at] = text;
    const bool byte = source.byte_fallback() && SpellsByte(text);
    kinds[at] = byte ? TokenKind::kByte : TokenKind::kNormal;
  }
  for (const AddedToken& token : added) {
    const auto at = static_cast<size_t>(token.id);
    if (kinds[at] != TokenKind::kUnused && texts[at] != token.content) {
      return absl::InvalidArgumentError(base::StrCat("added_tokens: ", QuoteToken(token.content), " is token ",
                                                     token.id, ", which is ", QuoteToken(texts[at])));
    }
    texts[at] = token.content;
    kinds[at] = token.special ? TokenKind::kControl : TokenKind::kUserDefined;
  }
  return vocabulary->Assign(file, std::move(texts), std::move(kinds));
}

// What the model has rows for, as far as the file says so; else as many as there can be.
absl::StatusOr<int64_t> EmbeddingRows(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const auto* tokens, file.FindStrings("tokenizer.ggml.tokens"));
  if (tokens != nullptr) return static_cast<int64_t>(tokens->size());
  const GgufTensor* const table = file.FindTensor("token_embd.weight");
  if (table != nullptr && table->dims.size() == 2) return table->dims[1];
  return static_cast<int64_t>(Vocabulary::kMaxTokens);
}

// Where the file has GGUF's own list of tokens too, they must be the same ones.
absl::Status CheckAgainstGguf(const GgufFile& file, const Vocabulary& vocabulary) {
  LINNET_ASSIGN_OR_RETURN(const auto* tokens, file.FindStrings("tokenizer.ggml.tokens"));
  if (tokens == nullptr) return absl::OkStatus();
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenKind kind = vocabulary.kind(id);
    if (kind == TokenKind::kUnused) continue;
    const auto at = static_cast<size_t>(id);
    if (at >= tokens->size()) {
      return absl::InvalidArgumentError(base::StrCat("token ", id, ", ", QuoteToken(vocabulary.text(id)),
                                                     ", is not in tokenizer.ggml.tokens, which has ", tokens->size()));
    }
    // Converters write added tokens as users do, or as SentencePiece would.
    const bool same =
        (*tokens)[at] == vocabulary.text(id) || ((kind == TokenKind::kUserDefined || vocabulary.IsControl(id)) &&
                                                 WithSpaces((*tokens)[at]) == WithSpaces(vocabulary.text(id)));
    if (!same) {
      return absl::InvalidArgumentError(base::StrCat("token ", id, " is ", QuoteToken(vocabulary.text(id)), ", and ",
                                                     QuoteToken((*tokens)[at]), " in tokenizer.ggml.tokens"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Make(const GgufFile& file, std::string_view text) {
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text));
  LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, ""));
  LINNET_ASSIGN_OR_RETURN(const std::string version, fields.String("version", "1.0"));
  if (version != "1.0") return fields.Error(base::StrCat("version \"", version, "\" is not supported; 1.0 is"));
  // Of batches: who runs a model cuts and fills texts as the model needs it.
  fields.Ignore("truncation");
  fields.Ignore("padding");
  const nlohmann::json null;
  const auto member = [&](std::string_view key) -> const nlohmann::json& {
    const nlohmann::json* found = fields.Find(key);
    return found == nullptr ? null : *found;
  };
  auto parts = std::make_unique<HfTokenizer::Parts>();
  LINNET_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source, ModelSource::Read(member("model")));
  LINNET_ASSIGN_OR_RETURN(parts->added, ReadAddedTokens(member("added_tokens"), source->tokens()));
  // Models of texts share their tokenizer with those that also see, whose tokens they have no rows for: to them that is
  // text like any other.
  LINNET_ASSIGN_OR_RETURN(const int64_t rows, EmbeddingRows(file));
  std::erase_if(parts->added, [&](const AddedToken& token) { return token.id >= rows; });
  LINNET_ASSIGN_OR_RETURN(parts->normalizer, Normalizer::Read(member("normalizer"), "normalizer"));
  LINNET_ASSIGN_OR_RETURN(parts->pre_tokenizer, PreTokenizer::Read(member("pre_tokenizer"), "pre_tokenizer"));
  LINNET_ASSIGN_OR_RETURN(parts->around, PostProcessor::Read(member("post_processor"), "post_processor"));
  LINNET_ASSIGN_OR_RETURN(parts->decoder, Decoder::Read(member("decoder"), "decoder"));
  LINNET_RETURN_IF_ERROR(fields.Finish());
  LINNET_RETURN_IF_ERROR(FillVocabulary(file, *source, parts->added, &parts->vocabulary));
  LINNET_RETURN_IF_ERROR(CheckAgainstGguf(file, parts->vocabulary));
  for (const std::vector<TokenId>* ids : {&parts->around.prefix, &parts->around.suffix}) {
    for (const TokenId id : *ids) {
      if (!parts->vocabulary.contains(id)) {
        return absl::InvalidArgumentError(base::StrCat("post_processor: there is no token ", id));
      }
    }
  }
  LINNET_ASSIGN_OR_RETURN(parts->model, source->Make(parts->vocabulary));
  return std::make_unique<HfTokenizer>(std::move(parts));
}

}  // namespace
}  // namespace hf

absl::StatusOr<std::unique_ptr<Tokenizer>> HuggingFaceTokenizerFromGguf(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const std::string_view text, file.GetString("tokenizer.huggingface.json"));
  absl::StatusOr<std::unique_ptr<Tokenizer>> made = hf::Make(file, text);
  if (made.ok() || !base::ErrorReason(made.status()).empty()) return made;
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                     base::StrCat(file.path(), ": tokenizer.huggingface.json: ", made.status().message()),
                     {{"file", file.path()}});
}

}  // namespace linnet::worker
