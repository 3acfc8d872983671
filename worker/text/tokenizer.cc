#include "worker/text/tokenizer.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "worker/text/tokenizers.h"

namespace linnet::worker {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  if (file.metadata().contains("tokenizer.huggingface.json")) return HuggingFaceTokenizerFromGguf(file);
  LINNET_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
  if (model == "gpt2") return BpeTokenizerFromGguf(file);
  if (model == "llama") return SentencePieceTokenizerFromGguf(file);
  if (model == "t5") return UnigramTokenizerFromGguf(file);
  return base::Error(
      absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
      absl::StrCat(file.path(), ": tokenizer.ggml.model \"", std::string(model),
                   "\" is not supported; gpt2 (byte-level BPE), llama (SentencePiece's BPE) and t5 (its Unigram) are"),
      {{"file", file.path()}});
}

}  // namespace linnet::worker
