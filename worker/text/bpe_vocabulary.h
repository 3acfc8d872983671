// The vocabulary of a byte-level BPE tokenizer (Radford et al. 2019): tokens, their bytes and kinds, and the merges.
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
#include "worker/text/tokenizer.h"

namespace linnet::worker {

// GGUF's tokenizer.ggml.token_type.
enum class TokenKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Thread-safe (const).
class BpeVocabulary {
 public:
  struct Merge {
    int32_t rank = 0;
    TokenId merged = -1;
  };

  // INVALID_ARGUMENT INVALID_MODEL_FILE: missing keys, duplicate tokens, merges of what are no tokens, lengths that
  // disagree, ids out of range.
  static absl::StatusOr<std::unique_ptr<BpeVocabulary>> FromGguf(const GgufFile& file);

  int size() const { return static_cast<int>(kinds_.size()); }
  bool contains(TokenId id) const { return id >= 0 && id < size(); }
  TokenKind kind(TokenId id) const { return kinds_[id]; }
  // As the file spells it: bytes of normal tokens each as a printable character.
  const std::string& text(TokenId id) const { return texts_[id]; }
  // What the token stands for; for control tokens and the like, their text.
  std::string_view bytes(TokenId id) const {
    return std::string_view(bytes_).substr(byte_begin_[id], byte_begin_[id + 1] - byte_begin_[id]);
  }

  // -1: none. Control tokens are not found by bytes: no text turns into them by merging.
  TokenId TokenOfByte(uint8_t byte) const { return token_of_byte_[byte]; }
  TokenId TokenOfBytes(std::string_view bytes) const;
  TokenId TokenOfText(std::string_view text) const;
  const Merge* FindMerge(TokenId left, TokenId right) const {
    const auto it = merges_.find(Pair(left, right));
    return it == merges_.end() ? nullptr : &it->second;
  }

  // Control, unknown and user-defined tokens, longest text first.
  const std::vector<TokenId>& special_tokens() const { return special_tokens_; }
  TokenId bos() const { return bos_; }
  TokenId eos() const { return eos_; }
  const std::vector<TokenId>& end_of_generation() const { return end_of_generation_; }

 private:
  static uint64_t Pair(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  absl::Status ReadTokens(const GgufFile& file);
  absl::Status ReadMerges(const GgufFile& file);
  absl::Status ReadSpecialIds(const GgufFile& file);

  std::vector<std::string> texts_;
  std::vector<TokenKind> kinds_;
  boost::unordered_flat_map<std::string_view, TokenId> by_text_;   // views of texts_
  std::string bytes_;                                              // of all tokens, one after another
  std::vector<uint32_t> byte_begin_;                               // [size + 1] into bytes_
  boost::unordered_flat_map<std::string_view, TokenId> by_bytes_;  // views of bytes_; normal and user-defined tokens
  std::array<TokenId, 256> token_of_byte_;
  boost::unordered_flat_map<uint64_t, Merge> merges_;
  std::vector<TokenId> special_tokens_;
  TokenId bos_ = -1;
  TokenId eos_ = -1;
  std::vector<TokenId> end_of_generation_;
};

}  // namespace linnet::worker
