#include "worker/server/request_rules.h"

#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/strings.h"
#include "registry/client/names.h"

namespace linnet::worker {
namespace {

using linnet::v1::Input;

// Of one list only so many bad elements are named: an answer must stay small.
constexpr int kMaxListed = 8;

// Collects what is wrong; Done() is OK where nothing is.
class Violations {
 public:
  void Add(std::string field, std::string what) { list_.emplace_back(std::move(field), std::move(what)); }
  absl::Status Done() const { return list_.empty() ? absl::OkStatus() : base::FieldErrors(list_); }

 private:
  std::vector<std::pair<std::string, std::string>> list_;
};

void CheckVariant(const std::string& variant, Violations* bad) {
  if (!registry::ParseVariantName(variant).ok()) bad->Add("variant", "must be models/{model}/variants/{variant}");
}

void CheckConversation(const linnet::v1::Conversation& conversation, const std::string& at, Violations* bad) {
  const std::string messages = base::StrCat(at, ".conversation.messages");
  if (conversation.messages().empty()) bad->Add(messages, "must have at least one message");
  if (conversation.messages_size() > kMaxMessages) {
    bad->Add(messages, base::StrCat("must be at most ", kMaxMessages, " messages, are ", conversation.messages_size()));
    return;
  }
  uint64_t bytes = 0;
  int listed = 0;
  for (int i = 0; i < conversation.messages_size(); ++i) {
    const linnet::v1::Message& message = conversation.messages(i);
    const bool bad_role = message.role().empty() || message.role().size() > kMaxRoleBytes;
    if (bad_role && listed++ < kMaxListed) {
      bad->Add(base::StrCat(messages, "[", i, "].role"), base::StrCat("must be of 1 to ", kMaxRoleBytes, " bytes"));
    }
    if (message.tool_calls_size() > kMaxTools && listed++ < kMaxListed) {
      bad->Add(base::StrCat(messages, "[", i, "].tool_calls"), base::StrCat("must be at most ", kMaxTools));
    }
    bytes += message.ByteSizeLong();
  }
  if (conversation.tools_size() > kMaxTools) {
    bad->Add(base::StrCat(at, ".conversation.tools"), base::StrCat("must be at most ", kMaxTools));
  }
  for (const linnet::v1::Tool& tool : conversation.tools()) bytes += tool.ByteSizeLong();
  if (bytes > kMaxPromptBytes) {
    bad->Add(messages, base::StrCat("must be at most ", kMaxPromptBytes, " bytes together, are ", bytes));
  }
}

void CheckInput(const Input& input, const std::string& at, Violations* bad) {
  switch (input.kind_case()) {
    case Input::kConversation:
      return CheckConversation(input.conversation(), at, bad);
    case Input::kText:
      if (input.text().size() > kMaxPromptBytes) {
        bad->Add(base::StrCat(at, ".text"),
                 base::StrCat("must be at most ", kMaxPromptBytes, " bytes, is ", input.text().size()));
      }
      return;
    case Input::kTokens:
      if (input.tokens().ids().empty()) bad->Add(base::StrCat(at, ".tokens.ids"), "must have at least one id");
      if (input.tokens().ids_size() > kMaxPromptTokens) {
        bad->Add(base::StrCat(at, ".tokens.ids"),
                 base::StrCat("must be at most ", kMaxPromptTokens, " ids, are ", input.tokens().ids_size()));
      }
      for (int i = 0; i < input.tokens().ids_size(); ++i) {
        if (input.tokens().ids(i) <= static_cast<uint32_t>(INT32_MAX)) continue;
        bad->Add(base::StrCat(at, ".tokens.ids[", i, "]"), "is no token id");
        break;
      }
      return;
    case Input::KIND_NOT_SET:
      bad->Add(at, "must be set: a conversation, text or tokens");
      return;
  }
}

// `min_open`: the lower end itself is not allowed. NaN never is.
void CheckRange(std::string_view field, float value, float min, bool min_open, float max, Violations* bad) {
  const bool above = min_open ? value > min : value >= min;
  if (above && value <= max) return;
  bad->Add(base::StrCat("sampling.", field),
           base::StrCat("must be in ", min_open ? "(" : "[", min, ", ", max, "], is ", value));
}

void CheckSampling(const linnet::v1::Sampling& sampling, Violations* bad) {
  if (sampling.has_temperature()) CheckRange("temperature", sampling.temperature(), 0, false, 100, bad);
  if (sampling.has_top_p()) CheckRange("top_p", sampling.top_p(), 0, true, 1, bad);
  if (sampling.has_min_p()) CheckRange("min_p", sampling.min_p(), 0, false, 1, bad);
}

void CheckStops(const linnet::v1::GenerateRequest& request, Violations* bad) {
  if (request.stop_size() > kMaxStopTexts) {
    bad->Add("stop", base::StrCat("must be at most ", kMaxStopTexts, " texts, are ", request.stop_size()));
    return;
  }
  for (int i = 0; i < request.stop_size(); ++i) {
    if (!request.stop(i).empty() && request.stop(i).size() <= kMaxStopBytes) continue;
    bad->Add(base::StrCat("stop[", i, "]"), base::StrCat("must be of 1 to ", kMaxStopBytes, " bytes"));
  }
}

void CheckRequestId(const std::string& id, Violations* bad) {
  bool printable = true;
  for (const char c : id) printable &= c >= 0x20 && c <= 0x7e;
  if (id.size() > kMaxRequestIdBytes || !printable) {
    bad->Add("request_id", base::StrCat("must be at most ", kMaxRequestIdBytes, " printable ASCII characters"));
  }
}

}  // namespace

absl::Status CheckGenerate(const v1::GenerateRequest& request) {
  Violations bad;
  CheckVariant(request.variant(), &bad);
  CheckInput(request.request().input(), "input", &bad);
  CheckSampling(request.request().sampling(), &bad);
  CheckStops(request.request(), &bad);
  CheckRequestId(request.request().request_id(), &bad);
  return bad.Done();
}

absl::Status CheckCountTokens(const v1::CountTokensRequest& request) {
  Violations bad;
  CheckVariant(request.variant(), &bad);
  CheckInput(request.input(), "input", &bad);
  return bad.Done();
}

}  // namespace linnet::worker
