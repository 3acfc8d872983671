// tokenizer.json's normalizer: rewrites a text before it is cut. Internal to worker/text/hf.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace linnet::worker::hf {

// Thread-safe (const).
class Normalizer {
 public:
  // null: the text stays as it is. INVALID_ARGUMENT: malformed or not supported, by name.
  static absl::StatusOr<std::unique_ptr<Normalizer>> Read(const nlohmann::json& json, const std::string& where);
  virtual ~Normalizer() = default;

  // REQUIRES: text is well-formed UTF-8; so it is afterwards.
  virtual void Apply(std::string& text) const = 0;
};

}  // namespace linnet::worker::hf
