// What Hugging Face's files say of added tokens and GGUF has no keys for, under keys of ours (docs/models.md): which
// take the spaces beside them, which stand alone, and behind which a text begins anew. For vocabularies of GGUF's own
// keys; tokenizer.json says it itself.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

// Ids, in order.
struct AddedTokenRules {
  std::vector<int32_t> lstrip, rstrip;  // white space before it, behind it, belongs to it
  std::vector<int32_t> single_word;     // only between spaces
  // Behind these SentencePiece's space stands before the text, as at its beginning. Unset: behind control tokens.
  std::optional<std::vector<int32_t>> begins_behind;

  // INVALID_ARGUMENT: a key that is no list of whole numbers.
  static absl::StatusOr<AddedTokenRules> FromGguf(const GgufFile& file);
  // Keys of lists that have something to say.
  void Write(GgufMetadata& metadata) const;

  static bool Has(const std::vector<int32_t>& ids, int32_t id);
};

}  // namespace linnet::worker
