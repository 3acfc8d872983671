// Structured logs: one JSON object a line on standard error, through absl/log.
//
//   InitLogging("linnet-worker");
//   LOG(INFO) << LogFields("variant loaded", {{"variant", name}, {"load_ms", absl::StrCat(ms)}});
//   -> {"time":"...","severity":"INFO","binary":"linnet-worker","message":"variant
//   loaded","variant":"...","load_ms":"812"}
//
// Lines are bounded (8 KiB); prompts and generated text are never logged.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/log.h"

namespace linnet::base {

// Once, at the beginning of main. `level`: "info", "warning" or "error".
void InitLogging(std::string_view binary, std::string_view level = "info");

std::string LogFields(std::string_view message, std::initializer_list<std::pair<std::string_view, std::string>> fields);

}  // namespace linnet::base
