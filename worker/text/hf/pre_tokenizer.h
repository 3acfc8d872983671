// tokenizer.json's pre_tokenizer: cuts a normalized text into the words that the model then takes one by one.
// Internal to worker/text/hf.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "worker/text/hf/segments.h"

namespace linnet::worker::hf {

// Thread-safe (const).
class PreTokenizer {
 public:
  // null: the whole text is one word. INVALID_ARGUMENT: malformed or not supported, by name.
  static absl::StatusOr<std::unique_ptr<PreTokenizer>> Read(const nlohmann::json& json, const std::string& where);
  virtual ~PreTokenizer() = default;

  virtual void Apply(Segments& segments) const = 0;
};

}  // namespace linnet::worker::hf
