// tokenizer.json's decoder: the bytes that a token stands for, behind another token. What a decoder does at the very
// beginning of a text alone (to take away the space that was put before it) is left out: what a model generates goes on
// from a prompt. Internal to worker/text/hf.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace linnet::worker::hf {

// Thread-safe (const).
class Decoder {
 public:
  // null: a space stands between tokens. INVALID_ARGUMENT: malformed or not supported, by name.
  static absl::StatusOr<std::unique_ptr<Decoder>> Read(const nlohmann::json& json, const std::string& where);
  virtual ~Decoder() = default;

  // `added`: the token is an added one that spells its text as users write it.
  virtual void Apply(std::string& token, bool added) const = 0;
};

}  // namespace linnet::worker::hf
