// SentencePiece's compiled normalization rules ("precompiled_charsmap"): strings and what replaces them. The format:
// the trie's size in bytes (u32), a double-array trie of u32 units (Aoe 1989, as the library Darts-clone packs it),
// then the replacements, each ended by a zero byte, to which the trie's values are offsets. Internal to worker/text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace linnet::worker {

// Thread-safe (const).
class Charsmap {
 public:
  struct Rule {
    size_t bytes = 0;  // of the text that is replaced
    std::string_view replacement;
  };

  // No rules.
  Charsmap() = default;
  // INVALID_ARGUMENT: no such bytes. What only shows when a text runs into it counts as no rule.
  static absl::StatusOr<Charsmap> Parse(std::string_view bytes);

  bool empty() const { return units_.empty(); }
  // The rule for the longest, or the shortest, beginning of `text` that has one.
  std::optional<Rule> Longest(std::string_view text) const { return Find(text, /*longest=*/true); }
  std::optional<Rule> Shortest(std::string_view text) const { return Find(text, /*longest=*/false); }

 private:
  std::optional<Rule> Find(std::string_view text, bool longest) const;
  template <typename Visit>  // visit(bytes, offset) -> go on?
  void ForEachPrefix(std::string_view text, Visit visit) const;
  std::optional<Rule> RuleAt(size_t bytes, uint32_t offset) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace linnet::worker
