// A regular expression on UTF-8 text, run by PCRE2 (JIT where it can). A search that backtracks too much ends at a
// limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace linnet::worker {

// Thread-safe (const).
class Regex {
 public:
  struct Match {
    size_t begin = 0, end = 0;
  };

  // PCRE2's syntax, with Unicode properties; ^ and $ stand at lines. INVALID_ARGUMENT: what PCRE2 does not take.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);

  // All matches in order, without overlaps. An empty one right behind another does not count. False: a search hit the
  // limit, and what follows the last match was not searched. REQUIRES: text is well-formed UTF-8, or as TokenizerUtf8
  // leaves it.
  bool FindAll(std::string_view text, std::vector<Match>& out) const;

  // Whether finding all matches takes at most so many steps, that is parts of the expression tried at a place, in each
  // of the texts. Slow. REQUIRES: Compile takes the pattern.
  static bool FindsAllWithin(std::string_view pattern, const std::vector<std::string>& texts, uint64_t steps);

 private:
  struct Free {
    void operator()(void* code) const;
  };
  static absl::StatusOr<Regex> CompileWith(std::string_view pattern, uint32_t options);
  std::unique_ptr<void, Free> code_;  // pcre2_code, whose header only regex.cc includes
};

// White_Space of Unicode as members of a class: what \s means to the models' own tokenizers. PCRE2's \s has U+180E
// besides.
#define LINNET_REGEX_SPACES \
  "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

}  // namespace linnet::worker
