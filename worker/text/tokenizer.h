// Text to token ids and back, as the model's own tokenizer does it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {

using TokenId = int32_t;

// Thread-safe (const).
class Tokenizer {
 public:
  struct EncodeOptions {
    // Control tokens written in the text ("<|im_end|>") become those tokens. Never for text that a user sent.
    bool parse_special = false;
    // BOS and EOS where the model asks for them.
    bool add_special = false;
    // Where not empty: breaks up special tokens that it stands in, and is then taken out of the text. So callers mark
    // text as ordinary within a larger one that is parsed for special tokens.
    std::string_view breaker = {};
  };

  // INVALID_ARGUMENT: a tokenizer model or pre-tokenizer that is not supported, a malformed vocabulary.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const GgufFile& file);
  virtual ~Tokenizer() = default;

  // Any bytes are accepted; each byte that belongs to no UTF-8 character is encoded as U+FFFD, as llama.cpp has it.
  // A byte that the vocabulary has no token for is left out. Time grows as n log n at most, whatever the text.
  // User-defined tokens are always recognised.
  virtual std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const = 0;

  // The bytes that a token stands for: not necessarily whole UTF-8 characters. Control tokens: "" unless `special`.
  virtual std::string_view TokenBytes(TokenId id, bool special = false) const = 0;

  virtual int vocab_size() const = 0;
  virtual bool IsControl(TokenId id) const = 0;
  // Tokens that end a turn: eos, eot, and end-of-turn tokens known by name ("<|im_end|>", "<|eot_id|>", ...).
  virtual const std::vector<TokenId>& end_of_generation() const = 0;
  virtual TokenId bos() const = 0;  // -1: none
  virtual TokenId eos() const = 0;  // -1: none
  // Text of each control token, for the chat template and for escaping.
  virtual const std::vector<std::string>& control_texts() const = 0;
};

}  // namespace linnet::worker
