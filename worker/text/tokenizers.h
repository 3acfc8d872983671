// The kinds of tokenizers, each made from a file that has one. Internal to worker/text.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizerFromGguf(const GgufFile& file);
absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizerFromGguf(const GgufFile& file);
absl::StatusOr<std::unique_ptr<Tokenizer>> UnigramTokenizerFromGguf(const GgufFile& file);
// From tokenizer.huggingface.json.
absl::StatusOr<std::unique_ptr<Tokenizer>> HuggingFaceTokenizerFromGguf(const GgufFile& file);

}  // namespace linnet::worker
