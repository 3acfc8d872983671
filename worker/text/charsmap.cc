#include "worker/text/charsmap.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace linnet::worker {
namespace {

// Far longer than any rule, so that a trie whose links run in circles costs no more than a text's length.
constexpr size_t kMaxRuleBytes = 256;

uint32_t OffsetOf(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t LabelOf(uint32_t unit) { return unit & ((1u << 31) | 0xFFu); }
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t ValueOf(uint32_t unit) { return unit & ~(1u << 31); }

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Parse(std::string_view bytes) {
  Charsmap map;
  if (bytes.empty()) return map;
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof(trie_bytes)) return absl::InvalidArgumentError("the charsmap is shorter than its header");
  std::memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
  bytes.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes == 0 || trie_bytes % sizeof(uint32_t) != 0 || trie_bytes > bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the charsmap's trie should have ", trie_bytes, " bytes, and ", bytes.size(), " follow"));
  }
  map.units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(map.units_.data(), bytes.data(), trie_bytes);
  map.replacements_ = bytes.substr(trie_bytes);
  return map;
}

template <typename Visit>
void Charsmap::ForEachPrefix(std::string_view text, Visit visit) const {
  if (units_.empty()) return;
  size_t at = OffsetOf(units_[0]);
  const size_t end = std::min(text.size(), kMaxRuleBytes);
  for (size_t i = 0; i < end; ++i) {
    const auto label = static_cast<uint8_t>(text[i]);
    at ^= label;
    if (label == 0 || at >= units_.size() || LabelOf(units_[at]) != label) return;
    const uint32_t unit = units_[at];
    at ^= OffsetOf(unit);
    if (HasLeaf(unit) && (at >= units_.size() || !visit(i + 1, ValueOf(units_[at])))) return;
  }
}

std::optional<Charsmap::Rule> Charsmap::RuleAt(size_t bytes, uint32_t offset) const {
  if (bytes == 0 || offset > replacements_.size()) return std::nullopt;
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  return Rule{.bytes = bytes, .replacement = rest.substr(0, rest.find('\0'))};
}

std::optional<Charsmap::Rule> Charsmap::Find(std::string_view text, bool longest) const {
  size_t bytes = 0;
  uint32_t offset = 0;
  ForEachPrefix(text, [&](size_t n, uint32_t value) {
    bytes = n;
    offset = value;
    return longest;
  });
  return RuleAt(bytes, offset);
}

}  // namespace linnet::worker
