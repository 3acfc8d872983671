// Ids of special tokens, whether text begins or ends with them, and the chat template: from tokenizer_config.json,
// generation_config.json, config.json and what tokenizer.json puts around a text. Internal to worker/checkpoint.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/checkpoint/hf_vocabulary.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

// `tokenizer`: tokenizer.json, null without one. What the special tokens name becomes a control token of `vocabulary`.
absl::Status AddSpecialTokens(const std::string& dir, const nlohmann::json& tokenizer, HfVocabulary& vocabulary,
                              GgufMetadata& metadata, std::vector<std::string>& notes);

}  // namespace linnet::worker
