// The model's own Jinja chat template, executed (minja). A template is foreign code, so it runs in a child process with
// bounded time, memory, output and system calls (template_process.h says how, and why not in this one).
//
// Text that a user sends never yields control tokens: before rendering, a noncharacter (U+FDD0...) is put into every
// control token's text that a message contains, and where a message's beginning or end could complete one with its
// neighbours; after rendering, only text without it is looked up as control tokens, and the noncharacter is taken out
// again. So this works through whatever the template does with the text (trim, tojson, ...).
//
// Create it before weights and KV cache are allocated: the child is forked, and shares what is there at that moment.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/text/chat_conversation.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

// Thread-safe (const): callers take turns at one child process. The tokenizer must outlive it.
class ChatTemplate {
 public:
  // `source`: tokenizer.chat_template. INVALID_ARGUMENT CHAT_TEMPLATE_FAILED: does not parse, or more than 64 KiB.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Create(std::string source, const Tokenizer* tokenizer);
  virtual ~ChatTemplate() = default;

  // The prompt's tokens, with the opening of the assistant's turn at the end. BOS is there where the template puts it.
  // INVALID_ARGUMENT CHAT_TEMPLATE_FAILED: the template raised an exception (its message is in the status), crashed, or
  // exceeded its bounds (1 MiB + 4 × the conversation of output, 1 s of CPU time, 512 MiB).
  // INVALID_ARGUMENT INVALID_FIELD: a role that could spell a control token, arguments or parameters that are no JSON
  // object, nest deeper than 64 levels or have more than 1024 members.
  virtual absl::StatusOr<std::vector<TokenId>> Encode(const ChatConversation& conversation) const = 0;
  // The same as text, for people and for comparison with other implementations.
  virtual absl::StatusOr<std::string> Render(const ChatConversation& conversation) const = 0;
};

}  // namespace linnet::worker
