#include "worker/text/sentencepiece_pieces.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/text/sentencepiece_normalizer.h"

namespace linnet::worker {

absl::StatusOr<std::unique_ptr<SentencePieces>> SentencePieces::FromGguf(const GgufFile& file) {
  auto pieces = std::make_unique<SentencePieces>();
  LINNET_RETURN_IF_ERROR(pieces->tokens_.Read(file));
  LINNET_RETURN_IF_ERROR(pieces->ReadScores(file));
  pieces->SpellTokens();
  return pieces;
}

absl::Status SentencePieces::ReadScores(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const auto* scores, file.FindDoubles("tokenizer.ggml.scores"));
  if (scores == nullptr) return VocabularyError(file, "tokenizer.ggml.scores is missing");
  if (scores->size() != static_cast<size_t>(tokens_.size())) {
    return VocabularyError(
        file, absl::StrCat("tokenizer.ggml.scores has ", scores->size(), " elements for ", tokens_.size(), " tokens"));
  }
  for (const double score : *scores) {
    if (std::isnan(score)) return VocabularyError(file, "a score is no number");
    scores_.push_back(static_cast<float>(score));
  }
  return absl::OkStatus();
}

void SentencePieces::SpellTokens() {
  unknown_ = tokens_.unknown();
  for (TokenId id = 0; id < tokens_.size(); ++id) {
    const std::string& text = tokens_.text(id);
    const TokenKind kind = tokens_.kind(id);
    longest_ = std::max(longest_, text.size());
    if (kind == TokenKind::kUnknown && unknown_ < 0) unknown_ = id;
    bytes_.push_back(kind == TokenKind::kNormal || kind == TokenKind::kUnused ? WithSpaces(text) : text);
  }
  token_of_byte_ = tokens_.BytePieces();
  for (size_t b = 0; b < token_of_byte_.size(); ++b) {
    TokenId& id = token_of_byte_[b];
    if (id >= 0 && tokens_.kind(id) != TokenKind::kByte) id = -1;
    if (id >= 0) bytes_[static_cast<size_t>(id)] = std::string(1, static_cast<char>(b));
  }
}

TokenId SentencePieces::Find(std::string_view text) const {
  const TokenId id = tokens_.TokenOfText(text);
  return id < 0 || tokens_.IsControl(id) || tokens_.kind(id) == TokenKind::kByte ? -1 : id;
}

}  // namespace linnet::worker
