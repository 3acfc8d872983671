// What Split and Replace look for: a string or a regular expression. Internal to worker/text/hf.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "worker/text/regex.h"

namespace linnet::worker::hf {

// From {"String": "..."} or {"Regex": "..."}. INVALID_ARGUMENT: another thing, an empty pattern, and as
// CompileOniguruma.
absl::StatusOr<Regex> ReadPattern(const nlohmann::json& pattern, const std::string& where);

}  // namespace linnet::worker::hf
