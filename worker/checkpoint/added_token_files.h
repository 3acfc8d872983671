// Tokens that a folder without tokenizer.json adds to its vocabulary: added_tokens.json, added_tokens_decoder in
// tokenizer_config.json, and what is named as special there or in special_tokens_map.json. Internal to
// worker/checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/hf_vocabulary.h"

namespace linnet::worker {

// Ids, in order.
struct AddedTokenIds {
  std::vector<int32_t> all;
  std::vector<int32_t> lstrip, rstrip, single_word;
};

// Puts them into the vocabulary. INVALID_ARGUMENT INVALID_MODEL_FILE names the file that is not as it should be.
absl::StatusOr<AddedTokenIds> AddTokensOfFiles(const std::string& dir, HfVocabulary& vocabulary);

}  // namespace linnet::worker
