#include "proto/generation_rules.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "base/strings.h"

namespace linnet {
namespace {

constexpr int kMaxListed = 8;

// Of functions, be they offered or called; adds one violation at most. Returns whether all is well.
template <class Functions>
bool CheckFunctions(const Functions& functions, const std::string& field, Violations& bad) {
  if (functions.size() > kMaxTools) {
    bad.emplace_back(field, base::StrCat("may have at most ", kMaxTools, " functions, has ", functions.size()));
    return false;
  }
  for (int i = 0; i < functions.size(); ++i) {
    const std::string& name = functions[i].name();
    if (!name.empty() && name.size() <= kMaxFunctionNameBytes) continue;
    bad.emplace_back(base::StrCat(field, "[", i, "].name"),
                     base::StrCat("must have 1 to ", kMaxFunctionNameBytes, " bytes, has ", name.size()));
    return false;
  }
  return true;
}

void CheckConversation(const v1::Conversation& conversation, Violations& bad) {
  const std::string messages = "input.conversation.messages";
  if (conversation.messages().empty()) bad.emplace_back(messages, "must have at least one message");
  if (conversation.messages_size() > kMaxMessages) {
    bad.emplace_back(messages,
                     base::StrCat("may have at most ", kMaxMessages, " messages, has ", conversation.messages_size()));
    return;
  }
  CheckFunctions(conversation.tools(), "input.conversation.tools", bad);
  int listed = 0;
  for (int i = 0; i < conversation.messages_size() && listed < kMaxListed; ++i) {
    const std::string field = base::StrCat(messages, "[", i, "]");
    const v1::Message& message = conversation.messages(i);
    if (!CheckFunctions(message.tool_calls(), base::StrCat(field, ".tool_calls"), bad)) ++listed;
    const size_t bytes = message.role().size();
    if (bytes > 0 && bytes <= kMaxRoleBytes) continue;
    ++listed;
    bad.emplace_back(base::StrCat(field, ".role"),
                     base::StrCat("must have 1 to ", kMaxRoleBytes, " bytes, has ", bytes));
  }
}

void CheckTokens(const v1::Tokens& tokens, Violations& bad) {
  if (tokens.ids().empty()) bad.emplace_back("input.tokens.ids", "must have at least one id");
  if (tokens.ids_size() > kMaxPromptTokens) {
    bad.emplace_back("input.tokens.ids",
                     base::StrCat("may have at most ", kMaxPromptTokens, " ids, has ", tokens.ids_size()));
  }
  const auto none = std::find_if(tokens.ids().begin(), tokens.ids().end(),
                                 [](uint32_t id) { return id > static_cast<uint32_t>(INT32_MAX); });
  if (none == tokens.ids().end()) return;
  bad.emplace_back(base::StrCat("input.tokens.ids[", none - tokens.ids().begin(), "]"), "is no token id");
}

// `min_open`: the lower end itself is not allowed. NaN never is.
void CheckRange(std::string_view field, float value, float min, bool min_open, float max, Violations& bad) {
  const bool above = min_open ? value > min : value >= min;
  if (above && value <= max) return;
  bad.emplace_back(base::StrCat("sampling.", field),
                   base::StrCat("must be in ", min_open ? "(" : "[", min, ", ", max, "], is ", value));
}

void CheckStops(const v1::GenerateRequest& request, Violations& bad) {
  if (request.stop_size() > kMaxStopTexts) {
    bad.emplace_back("stop", base::StrCat("may have at most ", kMaxStopTexts, " texts, has ", request.stop_size()));
    return;
  }
  for (int i = 0; i < request.stop_size(); ++i) {
    const size_t bytes = request.stop(i).size();
    if (bytes > 0 && bytes <= kMaxStopBytes) continue;
    bad.emplace_back(base::StrCat("stop[", i, "]"),
                     base::StrCat("must have 1 to ", kMaxStopBytes, " bytes, has ", bytes));
  }
}

}  // namespace

absl::Status ToStatus(const Violations& bad) { return bad.empty() ? absl::OkStatus() : base::FieldErrors(bad); }

void CheckInput(const v1::Input& input, Violations& bad) {
  switch (input.kind_case()) {
    case v1::Input::kConversation:
      return CheckConversation(input.conversation(), bad);
    case v1::Input::kText:
      if (input.text().empty()) bad.emplace_back("input.text", "must not be empty");
      return;
    case v1::Input::kTokens:
      return CheckTokens(input.tokens(), bad);
    case v1::Input::KIND_NOT_SET:
      bad.emplace_back("input", "is required: one of conversation, text and tokens");
  }
}

void CheckGenerate(const v1::GenerateRequest& request, Violations& bad) {
  CheckInput(request.input(), bad);
  const v1::Sampling& sampling = request.sampling();
  if (sampling.has_temperature()) CheckRange("temperature", sampling.temperature(), 0, false, 100, bad);
  if (sampling.has_top_p()) CheckRange("top_p", sampling.top_p(), 0, true, 1, bad);
  if (sampling.has_min_p()) CheckRange("min_p", sampling.min_p(), 0, false, 1, bad);
  CheckStops(request, bad);
  if (!request.request_id().empty() && !IsValidRequestId(request.request_id())) {
    bad.emplace_back("request_id",
                     base::StrCat("may have at most ", kMaxRequestIdBytes, " printable ASCII characters"));
  }
}

bool IsValidRequestId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxRequestIdBytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace linnet
