// What the vocabularies of all tokenizers have in common: tokens, their kinds, and the special ones among them.
// Internal to worker/text.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/token_kind.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

// Thread-safe (const).
class Vocabulary {
 public:
  static constexpr size_t kMaxTokens = 1 << 22;

  // INVALID_ARGUMENT INVALID_MODEL_FILE: missing keys, duplicate tokens, lengths that disagree, ids out of range.
  absl::Status Read(const GgufFile& file);
  // The same with tokens from elsewhere, by id; only the special ids are the file's. Empty texts get a name.
  // REQUIRES: as many kinds as texts.
  absl::Status Assign(const GgufFile& file, std::vector<std::string> texts, std::vector<TokenKind> kinds);

  int size() const { return static_cast<int>(kinds_.size()); }
  bool contains(TokenId id) const { return id >= 0 && id < size(); }
  TokenKind kind(TokenId id) const { return kinds_[static_cast<size_t>(id)]; }
  // Control and unknown tokens: no ordinary text becomes one.
  bool IsControl(TokenId id) const { return kind(id) == TokenKind::kControl || kind(id) == TokenKind::kUnknown; }
  // As the file spells it.
  const std::string& text(TokenId id) const { return texts_[static_cast<size_t>(id)]; }
  TokenId TokenOfText(std::string_view text) const;  // -1: none
  // Of <0x00> to <0xFF>, in which SentencePiece spells bytes; -1: none.
  std::array<TokenId, 256> BytePieces() const;

  // Control, unknown and user-defined tokens, longest text first.
  const std::vector<TokenId>& special_tokens() const { return special_tokens_; }
  TokenId bos() const { return bos_; }          // -1: none
  TokenId eos() const { return eos_; }          // -1: none
  TokenId unknown() const { return unknown_; }  // -1: none
  const std::vector<TokenId>& end_of_generation() const { return end_of_generation_; }

 private:
  absl::Status ReadSpecialIds(const GgufFile& file);

  std::vector<std::string> texts_;
  std::vector<TokenKind> kinds_;
  boost::unordered_flat_map<std::string_view, TokenId> by_text_;  // views of texts_
  std::vector<TokenId> special_tokens_;
  TokenId bos_ = -1;
  TokenId eos_ = -1;
  TokenId unknown_ = -1;
  std::vector<TokenId> end_of_generation_;
};

// INVALID_ARGUMENT INVALID_MODEL_FILE.
absl::Status VocabularyError(const GgufFile& file, std::string what);
// For messages.
std::string QuoteToken(std::string_view text);

}  // namespace linnet::worker
