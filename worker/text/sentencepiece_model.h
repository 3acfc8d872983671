// SentencePiece's own file, tokenizer.model, as GGUF metadata.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

// Sets tokenizer.ggml.* from the bytes of a tokenizer.model (a protobuf message sentencepiece.ModelProto): model (llama
// for BPE, t5 for Unigram), tokens, scores, token_type, the ids of BOS, EOS, unknown and padding, add_bos_token and
// add_eos_token as SentencePiece's models of that kind have it, add_space_prefix, remove_extra_whitespaces and
// precompiled_charsmap. What other files say (added tokens, BOS or not) is set behind it. INVALID_ARGUMENT
// INVALID_MODEL_FILE: no such message, or what is not supported, by name. `name` stands in messages.
absl::Status SetSentencePieceTokenizer(std::string_view name, std::string_view model, GgufMetadata* metadata);

}  // namespace linnet::worker
