#include "worker/text/chat_template.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "worker/text/chat_values.h"
#include "worker/text/template_process.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

constexpr size_t kMaxSourceBytes = 64 << 10;
constexpr size_t kMinOutputBytes = 1 << 20;
constexpr std::chrono::seconds kMaxTurnWait(10);

constexpr std::string_view kBreakerBorder = "\xEF\xB7\x90";  // U+FDD0
constexpr std::string_view kBreakerInner = "\xEF\xB7\x91";   // U+FDD1
constexpr std::string_view kSpace = " \t\n\v\f\r";

// Text that nothing in `values` contains: U+FDD0, or, where that is there, U+FDD0, a longer row of U+FDD1 than any
// there, U+FDD0. `bytes`: of all its texts together.
std::string ChooseBreaker(nlohmann::ordered_json& values, size_t* bytes) {
  bool taken = false;
  size_t longest_row = 0;
  VisitTexts(values, [&](const std::string& text) {
    *bytes += text.size();
    taken = taken || text.find(kBreakerBorder) != std::string::npos;
    size_t row = 0;
    for (size_t at = 0; at < text.size();) {
      const bool inner = text.compare(at, kBreakerInner.size(), kBreakerInner) == 0;
      row = inner ? row + 1 : 0;
      longest_row = std::max(longest_row, row);
      at += inner ? kBreakerInner.size() : 1;
    }
  });
  std::string breaker(kBreakerBorder);
  if (taken) {
    for (size_t i = 0; i <= longest_row; ++i) breaker.append(kBreakerInner);
    breaker.append(kBreakerBorder);
  }
  return breaker;
}

size_t FirstCharBytes(std::string_view text) { return std::max<size_t>(Utf8CharBytes(text, 0), 1); }

class ChatTemplateImpl : public ChatTemplate {
 public:
  ChatTemplateImpl(std::string source, const Tokenizer* tokenizer, std::unique_ptr<TemplateProcess> process)
      : source_(std::move(source)), tokenizer_(tokenizer), process_(std::move(process)) {
    for (const std::string& text : tokenizer->control_texts()) {
      if (!text.empty()) control_texts_.push_back(text);
    }
  }

  absl::StatusOr<std::vector<TokenId>> Encode(const ChatConversation& conversation) const override {
    LINNET_ASSIGN_OR_RETURN(nlohmann::ordered_json values, Values(conversation));
    size_t bytes = 0;
    const std::string breaker = ChooseBreaker(values, &bytes);
    VisitTexts(values, [&](std::string& text) { text = BreakUp(text, breaker); });
    LINNET_ASSIGN_OR_RETURN(const std::string text, RunInProcess(values, bytes));
    return tokenizer_->Encode(text, {.parse_special = true, .add_special = false, .breaker = breaker});
  }

  absl::StatusOr<std::string> Render(const ChatConversation& conversation) const override {
    LINNET_ASSIGN_OR_RETURN(nlohmann::ordered_json values, Values(conversation));
    size_t bytes = 0;
    ChooseBreaker(values, &bytes);
    return RunInProcess(values, bytes);
  }

 private:
  absl::StatusOr<nlohmann::ordered_json> Values(const ChatConversation& conversation) const {
    for (size_t i = 0; i < conversation.messages.size(); ++i) {
      LINNET_RETURN_IF_ERROR(CheckRole(conversation.messages[i].role, i));
    }
    LINNET_ASSIGN_OR_RETURN(nlohmann::ordered_json values, ChatValues(conversation));
    values["bos_token"] = TokenText(tokenizer_->bos());
    values["eos_token"] = TokenText(tokenizer_->eos());
    return values;
  }

  // One caller at a time has the process; nobody holds the lock while it works.
  absl::StatusOr<std::string> RunInProcess(const nlohmann::ordered_json& values, size_t text_bytes) const {
    const std::string json = values.dump();
    const size_t max_output_bytes = kMinOutputBytes + 4 * text_bytes;
    LINNET_ASSIGN_OR_RETURN(std::unique_ptr<TemplateProcess> process, Take());
    absl::StatusOr<std::string> result =
        process != nullptr ? process->Render(json, max_output_bytes) : RunOnce(json, max_output_bytes);
    if (process != nullptr && process->broken()) process.reset();
    base::MutexLock lock(&mu_);
    process_ = std::move(process);
    taken_ = false;
    turn_.NotifyOne();
    return result;
  }

  // The first child did not survive this template. It may well happen again, and a child that is forked now shares the
  // pages of a loaded model: so each conversation has its own.
  absl::StatusOr<std::string> RunOnce(const std::string& values, size_t max_output_bytes) const {
    LINNET_ASSIGN_OR_RETURN(std::unique_ptr<TemplateProcess> process, TemplateProcess::Start(source_));
    return process->Render(values, max_output_bytes);
  }

  // nullptr: there is no process any more.
  absl::StatusOr<std::unique_ptr<TemplateProcess>> Take() const {
    const auto deadline = std::chrono::steady_clock::now() + kMaxTurnWait;
    base::MutexLock lock(&mu_);
    while (taken_) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline) {
        return base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                           "chat template: other conversations keep it busy; try again");
      }
      turn_.WaitFor(&mu_, deadline - now);
    }
    taken_ = true;
    return std::move(process_);
  }

  std::string TokenText(TokenId id) const {
    return id < 0 ? std::string() : std::string(tokenizer_->TokenBytes(id, /*special=*/true));
  }

  // Templates build control tokens around roles ('<|' + role + '|>'), so a role must not be part of one by chance.
  absl::Status CheckRole(const std::string& role, size_t index) const {
    static constexpr std::array<std::string_view, 6> kUsual = {"system",    "user", "assistant",
                                                               "developer", "tool", "function"};
    if (std::find(kUsual.begin(), kUsual.end(), role) != kUsual.end()) return absl::OkStatus();
    const bool plain = !role.empty() && role.size() <= 64 && std::all_of(role.begin(), role.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
    const bool part = std::any_of(control_texts_.begin(), control_texts_.end(),
                                  [&](const std::string& text) { return text.find(role) != std::string::npos; });
    if (plain && !part) return absl::OkStatus();
    return base::FieldErrors({{absl::StrCat("messages[", index, "].role"),
                               absl::StrCat("must be system, user, assistant or another plain name, is \"",
                                            base::BoundedUtf8(role, 64), "\"")}});
  }

  std::string BreakUp(const std::string& text, std::string_view breaker) const {
    if (text.empty()) return text;
    // Within: behind the first character of each control token's text. Overlapping ones too.
    std::vector<size_t> breaks;
    for (const std::string& control : control_texts_) {
      for (size_t at = 0; (at = text.find(control, at)) != std::string::npos; ++at) {
        breaks.push_back(at + FirstCharBytes(control));
      }
    }
    // At the borders, also of what remains when the template trims the text: where it ends as a control token begins,
    // or begins as one ends.
    const size_t first = text.find_first_not_of(kSpace);
    const size_t last = text.find_last_not_of(kSpace);
    if (first != std::string::npos) {
      const std::string_view core = std::string_view(text).substr(first, last - first + 1);
      for (const std::string& control : control_texts_) {
        for (size_t n = 1; n < control.size() && n <= core.size(); ++n) {
          if (core.ends_with(std::string_view(control).substr(0, n))) breaks.push_back(last + 1);
          if (core.starts_with(std::string_view(control).substr(control.size() - n))) breaks.push_back(first);
        }
      }
    }
    std::sort(breaks.begin(), breaks.end());
    breaks.erase(std::unique(breaks.begin(), breaks.end()), breaks.end());
    std::string out;
    out.reserve(text.size() + breaks.size() * breaker.size());
    size_t done = 0;
    for (size_t at : breaks) {
      out.append(text, done, at - done).append(breaker);
      done = at;
    }
    out.append(text, done);
    return out;
  }

  const std::string source_;
  const Tokenizer* const tokenizer_;
  std::vector<std::string> control_texts_;  // constant after construction

  mutable base::Mutex mu_;
  mutable base::CondVar turn_;
  mutable std::unique_ptr<TemplateProcess> process_ ABSL_GUARDED_BY(mu_);  // nullptr while taken, or once it broke
  mutable bool taken_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(std::string source, const Tokenizer* tokenizer) {
  if (source.size() > kMaxSourceBytes) {
    return base::Error(absl::StatusCode::kInvalidArgument, "CHAT_TEMPLATE_FAILED",
                       absl::StrCat("chat template: ", source.size(), " bytes, and at most ", kMaxSourceBytes,
                                    " are supported; shorten tokenizer.chat_template"));
  }
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<TemplateProcess> process, TemplateProcess::Start(source));
  return std::make_unique<ChatTemplateImpl>(std::move(source), tokenizer, std::move(process));
}

}  // namespace linnet::worker
