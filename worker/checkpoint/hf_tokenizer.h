// The tokenizer of a checkpoint as GGUF metadata: tokenizer.json whole under tokenizer.huggingface.json, beside it, or
// of older kinds of files alone, what llama.cpp's converter would write (tokens, kinds, merges or scores, special ids),
// and the chat template.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

// `vocab`: rows of the embeddings; ids without a token get one that no text becomes. INVALID_ARGUMENT
// INVALID_MODEL_FILE: no tokenizer in the folder, one of a kind that GGUF does not have, or with tokens that have no
// embedding.
absl::Status AddTokenizer(const std::string& dir, int64_t vocab, GgufMetadata& metadata,
                          std::vector<std::string>& notes);

}  // namespace linnet::worker
