// The vocabulary of a SentencePiece tokenizer (Kudo and Richardson, arXiv 1808.06226): pieces with their scores, and
// the bytes that they stand for. Internal to worker/text.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/text/tokenizer.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker {

// Thread-safe (const).
class SentencePieces {
 public:
  // INVALID_ARGUMENT INVALID_MODEL_FILE: as Vocabulary::Read, and scores that are missing or no numbers.
  static absl::StatusOr<std::unique_ptr<SentencePieces>> FromGguf(const GgufFile& file);

  const Vocabulary& tokens() const { return tokens_; }
  float score(TokenId id) const { return scores_[static_cast<size_t>(id)]; }
  // -1: none. Control tokens and bytes are not found: no text turns into them by merging.
  TokenId Find(std::string_view text) const;
  size_t longest() const { return longest_; }                               // text of a token
  TokenId TokenOfByte(uint8_t byte) const { return token_of_byte_[byte]; }  // -1: none
  TokenId unknown() const { return unknown_; }                              // -1: none
  std::string_view bytes(TokenId id) const { return bytes_[static_cast<size_t>(id)]; }

 private:
  absl::Status ReadScores(const GgufFile& file);
  void SpellTokens();

  Vocabulary tokens_;
  std::vector<float> scores_;
  std::vector<std::string> bytes_;  // what each token stands for
  std::array<TokenId, 256> token_of_byte_{};
  TokenId unknown_ = -1;
  size_t longest_ = 0;
};

}  // namespace linnet::worker
