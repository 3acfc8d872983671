// SentencePiece's own file, tokenizer.model, as GGUF metadata.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

// What of a protobuf message sentencepiece.ModelProto matters here; the defaults are SentencePiece's.
struct SentencePieceModel {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;                       // as TokenKind numbers them
  bool bpe = false;                                 // else Unigram
  int64_t unknown = 0, bos = 1, eos = 2, pad = -1;  // -1: none
  std::string charsmap;                             // rules of normalization, compiled; may be empty
  bool add_space_prefix = true;
  bool remove_extra_spaces = true;
};

// INVALID_ARGUMENT INVALID_MODEL_FILE: no such message, or what is not supported, by name. `name` stands in messages.
absl::StatusOr<SentencePieceModel> ReadSentencePieceModel(std::string_view name, std::string_view bytes);

// Sets tokenizer.ggml.*: model (llama for BPE, t5 for Unigram), tokens, scores, token_type, the ids of BOS, EOS,
// unknown and padding, add_bos_token and add_eos_token as SentencePiece's models of that kind have it,
// add_space_prefix, remove_extra_whitespaces and precompiled_charsmap. What other files say (added tokens, BOS or not)
// is set behind it.
void SetSentencePieceTokenizer(const SentencePieceModel& model, GgufMetadata* metadata);

}  // namespace linnet::worker
