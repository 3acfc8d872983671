// Regular expressions of tokenizer.json are Oniguruma's (Ruby's syntax); PCRE2 runs them. Internal to worker/text/hf.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/text/regex.h"

namespace linnet::worker::hf {

// `pattern` in PCRE2's syntax, with the same matches: \s, \d, \w are Unicode's as Oniguruma has them, classes within
// classes become one, scripts do not extend. INVALID_ARGUMENT: malformed, or a construct that is not supported (those
// that the two read differently, and what no published tokenizer needs), by name.
absl::StatusOr<std::string> OnigurumaToPcre2(std::string_view pattern);

// That, compiled. INVALID_ARGUMENT, besides: an expression that backtracks without end on plain texts.
absl::StatusOr<Regex> CompileOniguruma(std::string_view pattern);

// The expression that matches `text` and nothing else.
std::string QuoteForRegex(std::string_view text);

}  // namespace linnet::worker::hf
