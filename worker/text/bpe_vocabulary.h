// The vocabulary of a byte-level BPE tokenizer (Radford et al. 2019): tokens, their bytes, and the merges.
// Internal to worker/text.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/text/bpe_merges.h"
#include "worker/text/tokenizer.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker {

// Thread-safe (const).
class BpeVocabulary {
 public:
  // INVALID_ARGUMENT INVALID_MODEL_FILE: as Vocabulary::Read, and merges of what are no tokens.
  static absl::StatusOr<std::unique_ptr<BpeVocabulary>> FromGguf(const GgufFile& file);

  const Vocabulary& tokens() const { return tokens_; }
  // What the token stands for; for control tokens and the like, their text.
  std::string_view bytes(TokenId id) const {
    return std::string_view(bytes_).substr(byte_begin_[id], byte_begin_[id + 1] - byte_begin_[id]);
  }

  // -1: none. Control tokens are not found by bytes: no text turns into them by merging.
  TokenId TokenOfByte(uint8_t byte) const { return token_of_byte_[byte]; }
  TokenId TokenOfBytes(std::string_view bytes) const;
  const BpeMerges& merges() const { return merges_; }

 private:
  void SpellTokens();
  absl::Status ReadMerges(const GgufFile& file);

  Vocabulary tokens_;
  std::string bytes_;                                              // of all tokens, one after another
  std::vector<uint32_t> byte_begin_;                               // [size + 1] into bytes_
  boost::unordered_flat_map<std::string_view, TokenId> by_bytes_;  // views of bytes_; normal and user-defined tokens
  std::array<TokenId, 256> token_of_byte_;
  BpeMerges merges_;
};

}  // namespace linnet::worker
