#include "worker/text/vocabulary.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace linnet::worker {
namespace {

// Tokens that end a turn in models whose files do not say so. Where a file gives such a token another kind than
// control, it is taken for one all the same, as llama.cpp does.
constexpr std::string_view kEndOfTurnTexts[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>",         "<end_of_turn>", "<|endoftext|>",      "<|eom_id|>",
    "<EOT>",      "_<EOT>",     "<|end_of_text|>", "<|return|>",    "<end_of_utterance>", "<｜end▁of▁sentence｜>",
};

}  // namespace

absl::Status VocabularyError(const GgufFile& file, std::string what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                     absl::StrCat(file.path(), ": tokenizer: ", what, "; convert the model again"),
                     {{"file", file.path()}});
}

std::string QuoteToken(std::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(std::string(text.substr(0, 60))), "\"");
}

absl::Status Vocabulary::Read(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const auto* tokens, file.FindStrings("tokenizer.ggml.tokens"));
  if (tokens == nullptr || tokens->empty()) return VocabularyError(file, "tokenizer.ggml.tokens is missing or empty");
  if (tokens->size() > kMaxTokens) return VocabularyError(file, absl::StrCat(tokens->size(), " tokens are too many"));
  LINNET_ASSIGN_OR_RETURN(const auto* types, file.FindInts("tokenizer.ggml.token_type"));
  if (types != nullptr && types->size() != tokens->size()) {
    return VocabularyError(file, absl::StrCat("tokenizer.ggml.token_type has ", types->size(), " elements for ",
                                              tokens->size(), " tokens"));
  }
  std::vector<std::string> texts;
  std::vector<TokenKind> kinds;
  for (size_t i = 0; i < tokens->size(); ++i) {
    const int64_t type = types == nullptr ? 1 : (*types)[i];
    if (type < 1 || type > 6) return VocabularyError(file, absl::StrCat("token ", i, " has the unknown type ", type));
    texts.emplace_back((*tokens)[i]);
    kinds.push_back(static_cast<TokenKind>(type));
  }
  return Assign(file, std::move(texts), std::move(kinds));
}

absl::Status Vocabulary::Assign(const GgufFile& file, std::vector<std::string> texts, std::vector<TokenKind> kinds) {
  texts_ = std::move(texts);  // by_text_ refers to them in place
  kinds_ = std::move(kinds);
  uint64_t total_bytes = 0;
  by_text_.reserve(texts_.size());
  for (size_t i = 0; i < texts_.size(); ++i) {
    if (texts_[i].empty()) texts_[i] = absl::StrCat("[EMPTY_", i, "]");
    total_bytes += texts_[i].size();
    const auto [it, fresh] = by_text_.emplace(texts_[i], static_cast<TokenId>(i));
    if (!fresh)
      return VocabularyError(file,
                             absl::StrCat("tokens ", it->second, " and ", i, " are both ", QuoteToken(texts_[i])));
  }
  if (total_bytes > std::numeric_limits<uint32_t>::max())
    return VocabularyError(file, "the tokens' texts exceed 4 GiB");
  for (std::string_view text : kEndOfTurnTexts) {
    if (const TokenId id = TokenOfText(text); id >= 0) kinds_[id] = TokenKind::kControl;
  }
  for (TokenId id = 0; id < size(); ++id) {
    if (IsControl(id) || kind(id) == TokenKind::kUserDefined) special_tokens_.push_back(id);
  }
  std::stable_sort(special_tokens_.begin(), special_tokens_.end(),
                   [&](TokenId a, TokenId b) { return text(a).size() > text(b).size(); });
  return ReadSpecialIds(file);
}

absl::Status Vocabulary::ReadSpecialIds(const GgufFile& file) {
  const auto read = [&](const char* key, TokenId& id) -> absl::Status {
    LINNET_ASSIGN_OR_RETURN(const int64_t value, file.GetIntOr(key, -1));
    const bool absent = value == -1 || value == std::numeric_limits<uint32_t>::max();
    if (!absent && (value < 0 || value >= size())) {
      return VocabularyError(file, absl::StrCat(key, " is ", value, ", and there are ", size(), " tokens"));
    }
    id = absent ? -1 : static_cast<TokenId>(value);
    return absl::OkStatus();
  };
  TokenId eot = -1, eom = -1;
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.bos_token_id", bos_));
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.eos_token_id", eos_));
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.unknown_token_id", unknown_));
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.eot_token_id", eot));
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.eom_token_id", eom));
  std::vector<TokenId> ends = {eos_, eot, eom};
  for (std::string_view text : kEndOfTurnTexts) ends.push_back(TokenOfText(text));
  for (TokenId id : ends) {
    if (id >= 0 && std::find(end_of_generation_.begin(), end_of_generation_.end(), id) == end_of_generation_.end()) {
      end_of_generation_.push_back(id);
    }
  }
  return absl::OkStatus();
}

TokenId Vocabulary::TokenOfText(std::string_view text) const {
  const auto it = by_text_.find(text);
  return it == by_text_.end() ? -1 : it->second;
}

std::array<TokenId, 256> Vocabulary::BytePieces() const {
  std::array<TokenId, 256> pieces;
  for (size_t b = 0; b < pieces.size(); ++b) pieces[b] = TokenOfText(absl::StrFormat("<0x%02X>", b));
  return pieces;
}

}  // namespace linnet::worker
