#include "gateway/validation.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/strings.h"
#include "registry/client/names.h"

namespace linnet::gateway {
namespace {

constexpr size_t kMaxRoleBytes = 64;
constexpr size_t kMaxFunctionNameBytes = 64;
// Of one kind (messages, stop texts) only so many violations are listed: the answer must stay small.
constexpr int kMaxListed = 8;

class Violations {
 public:
  void Add(std::string field, std::string what) { list_.emplace_back(std::move(field), std::move(what)); }
  absl::Status ToStatus() const { return list_.empty() ? absl::OkStatus() : base::FieldErrors(list_); }

 private:
  std::vector<std::pair<std::string, std::string>> list_;
};

void CheckModel(const std::string& model, Violations& bad) {
  if (model.empty()) {
    bad.Add("model", "is required: {model}, {model}@{alias} or {model}/{variant}");
  } else if (auto reference = registry::ParseModelReference(model); !reference.ok()) {
    bad.Add("model", std::string(reference.status().message()));
  }
}

// Of functions, be they offered or called; adds one violation at most. Returns whether all is well.
template <class Functions>
bool CheckFunctions(const Functions& functions, const std::string& field, Violations& bad) {
  if (functions.size() > kMaxTools) {
    bad.Add(field, base::StrCat("may have at most ", kMaxTools, " functions, has ", functions.size()));
    return false;
  }
  for (int i = 0; i < functions.size(); ++i) {
    const std::string& name = functions[i].name();
    if (!name.empty() && name.size() <= kMaxFunctionNameBytes) continue;
    bad.Add(base::StrCat(field, "[", i, "].name"),
            name.empty() ? "is required" : base::StrCat("may have at most ", kMaxFunctionNameBytes, " bytes"));
    return false;
  }
  return true;
}

void CheckConversation(const v1::Conversation& conversation, Violations& bad) {
  if (conversation.messages().empty()) bad.Add("input.conversation.messages", "must have at least one message");
  if (conversation.messages_size() > kMaxMessages) {
    bad.Add("input.conversation.messages",
            base::StrCat("may have at most ", kMaxMessages, " messages, has ", conversation.messages_size()));
    return;
  }
  CheckFunctions(conversation.tools(), "input.conversation.tools", bad);
  int listed = 0;
  for (int i = 0; i < conversation.messages_size() && listed < kMaxListed; ++i) {
    const std::string field = base::StrCat("input.conversation.messages[", i, "]");
    const v1::Message& message = conversation.messages(i);
    if (!CheckFunctions(message.tool_calls(), base::StrCat(field, ".tool_calls"), bad)) ++listed;
    const std::string& role = message.role();
    if (!role.empty() && role.size() <= kMaxRoleBytes) continue;
    ++listed;
    bad.Add(base::StrCat(field, ".role"),
            role.empty() ? "is required" : base::StrCat("may have at most ", kMaxRoleBytes, " bytes"));
  }
}

void CheckInput(const v1::Input& input, Violations& bad) {
  switch (input.kind_case()) {
    case v1::Input::kConversation:
      return CheckConversation(input.conversation(), bad);
    case v1::Input::kText:
      if (input.text().empty()) bad.Add("input.text", "must not be empty");
      return;
    case v1::Input::kTokens:
      if (input.tokens().ids().empty()) bad.Add("input.tokens", "must not be empty");
      return;
    case v1::Input::KIND_NOT_SET:
      bad.Add("input", "is required: one of conversation, text and tokens");
  }
}

// Negated comparisons, so that NaN fails too.
void CheckSampling(const v1::Sampling& s, Violations& bad) {
  if (s.has_temperature() && !(s.temperature() >= 0 && s.temperature() <= 100)) {
    bad.Add("sampling.temperature", base::StrCat("must be in [0, 100], is ", s.temperature()));
  }
  if (s.has_top_p() && !(s.top_p() > 0 && s.top_p() <= 1)) {
    bad.Add("sampling.top_p", base::StrCat("must be in (0, 1], is ", s.top_p()));
  }
  if (s.has_min_p() && !(s.min_p() >= 0 && s.min_p() <= 1)) {
    bad.Add("sampling.min_p", base::StrCat("must be in [0, 1], is ", s.min_p()));
  }
}

void CheckSize(size_t bytes, uint64_t max_bytes, Violations& bad) {
  if (bytes > max_bytes) {
    bad.Add("input", base::StrCat("the request may have at most ", max_bytes, " bytes, has ", bytes));
  }
}

}  // namespace

bool IsValidRequestId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxRequestIdBytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

absl::Status ValidateGenerate(const v1::GenerateRequest& request, uint64_t max_request_bytes) {
  Violations bad;
  CheckModel(request.model(), bad);
  CheckInput(request.input(), bad);
  CheckSampling(request.sampling(), bad);
  CheckSize(request.ByteSizeLong(), max_request_bytes, bad);
  if (request.stop_size() > kMaxStopTexts) {
    bad.Add("stop", base::StrCat("may have at most ", kMaxStopTexts, " texts, has ", request.stop_size()));
  }
  for (int i = 0; i < std::min(request.stop_size(), kMaxStopTexts); ++i) {
    const size_t bytes = request.stop(i).size();
    if (bytes == 0 || bytes > kMaxStopBytes) {
      bad.Add(base::StrCat("stop[", i, "]"), base::StrCat("must have 1 to ", kMaxStopBytes, " bytes, has ", bytes));
    }
  }
  if (!request.request_id().empty() && !IsValidRequestId(request.request_id())) {
    bad.Add("request_id", base::StrCat("may have at most ", kMaxRequestIdBytes, " printable ASCII characters"));
  }
  return bad.ToStatus();
}

absl::Status ValidateCountTokens(const v1::CountTokensRequest& request, uint64_t max_request_bytes) {
  Violations bad;
  CheckModel(request.model(), bad);
  CheckInput(request.input(), bad);
  CheckSize(request.ByteSizeLong(), max_request_bytes, bad);
  return bad.ToStatus();
}

}  // namespace linnet::gateway
