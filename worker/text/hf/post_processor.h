// tokenizer.json's post_processor: the tokens that stand before and behind a text, BOS and EOS among them.
// Internal to worker/text/hf.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker::hf {

struct PostProcessor {
  std::vector<TokenId> prefix, suffix;

  // null: none. INVALID_ARGUMENT: malformed or not supported, by name.
  static absl::StatusOr<PostProcessor> Read(const nlohmann::json& json, const std::string& where);
};

}  // namespace linnet::worker::hf
