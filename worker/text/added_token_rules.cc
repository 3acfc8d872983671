#include "worker/text/added_token_rules.h"

#include <algorithm>
#include <string_view>

#include "base/status_macros.h"

namespace linnet::worker {
namespace {

constexpr std::string_view kLstrip = "tokenizer.linnet.lstrip", kRstrip = "tokenizer.linnet.rstrip",
                           kSingleWord = "tokenizer.linnet.single_word",
                           kBeginsBehind = "tokenizer.linnet.begins_behind";

absl::StatusOr<std::vector<int32_t>> ReadIds(const GgufFile& file, std::string_view key) {
  LINNET_ASSIGN_OR_RETURN(const auto* numbers, file.FindInts(key));
  std::vector<int32_t> ids;
  if (numbers == nullptr) return ids;
  for (const int64_t number : *numbers) ids.push_back(static_cast<int32_t>(number));
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

absl::StatusOr<AddedTokenRules> AddedTokenRules::FromGguf(const GgufFile& file) {
  AddedTokenRules rules;
  LINNET_ASSIGN_OR_RETURN(rules.lstrip, ReadIds(file, kLstrip));
  LINNET_ASSIGN_OR_RETURN(rules.rstrip, ReadIds(file, kRstrip));
  LINNET_ASSIGN_OR_RETURN(rules.single_word, ReadIds(file, kSingleWord));
  if (file.metadata().contains(kBeginsBehind)) {
    LINNET_ASSIGN_OR_RETURN(rules.begins_behind, ReadIds(file, kBeginsBehind));
  }
  return rules;
}

void AddedTokenRules::Write(GgufMetadata& metadata) const {
  if (!lstrip.empty()) metadata.SetI32s(kLstrip, lstrip);
  if (!rstrip.empty()) metadata.SetI32s(kRstrip, rstrip);
  if (!single_word.empty()) metadata.SetI32s(kSingleWord, single_word);
  if (begins_behind) metadata.SetI32s(kBeginsBehind, *begins_behind);
}

bool AddedTokenRules::Has(const std::vector<int32_t>& ids, int32_t id) {
  return std::binary_search(ids.begin(), ids.end(), id);
}

}  // namespace linnet::worker
