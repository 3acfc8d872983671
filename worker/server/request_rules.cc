#include "worker/server/request_rules.h"

#include <string>

#include "base/strings.h"
#include "proto/generation_rules.h"
#include "registry/client/names.h"

namespace linnet::worker {
namespace {

void CheckVariant(const std::string& variant, Violations& bad) {
  if (registry::ParseVariantName(variant).ok()) return;
  bad.emplace_back("variant", "must be models/{model}/variants/{variant}");
}

void CheckBytes(const linnet::v1::Input& input, Violations& bad) {
  const uint64_t bytes = input.has_text()           ? input.text().size()
                         : input.has_conversation() ? input.conversation().ByteSizeLong()
                                                    : 0;
  if (bytes <= kMaxPromptBytes) return;
  bad.emplace_back(input.has_text() ? "input.text" : "input.conversation.messages",
                   base::StrCat("may have at most ", kMaxPromptBytes, " bytes, has ", bytes));
}

}  // namespace

absl::Status CheckGenerate(const v1::GenerateRequest& request) {
  Violations bad;
  CheckVariant(request.variant(), bad);
  linnet::CheckGenerate(request.request(), bad);
  CheckBytes(request.request().input(), bad);
  return ToStatus(bad);
}

absl::Status CheckCountTokens(const v1::CountTokensRequest& request) {
  Violations bad;
  CheckVariant(request.variant(), bad);
  CheckInput(request.input(), bad);
  CheckBytes(request.input(), bad);
  return ToStatus(bad);
}

}  // namespace linnet::worker
