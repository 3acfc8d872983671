#include "worker/server/prompt.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

ChatConversation ToChat(const linnet::v1::Conversation& conversation) {
  ChatConversation chat;
  chat.messages.reserve(static_cast<size_t>(conversation.messages_size()));
  for (const linnet::v1::Message& message : conversation.messages()) {
    ChatMessage& to = chat.messages.emplace_back(ChatMessage{.role = message.role(),
                                                             .content = message.content(),
                                                             .tool_calls = {},
                                                             .tool_call_id = message.tool_call_id(),
                                                             .name = message.name()});
    for (const linnet::v1::ToolCall& call : message.tool_calls()) {
      to.tool_calls.push_back({call.id(), call.name(), call.arguments_json()});
    }
  }
  for (const linnet::v1::Tool& tool : conversation.tools()) {
    chat.tools.push_back({tool.name(), tool.description(), tool.parameters_json()});
  }
  return chat;
}

}  // namespace

absl::StatusOr<std::vector<TokenId>> EncodePrompt(const linnet::v1::Input& input, std::string_view field,
                                                  const LoadedVariant& variant) {
  std::vector<TokenId> prompt;
  switch (input.kind_case()) {
    case linnet::v1::Input::kConversation: {
      if (variant.chat_template == nullptr) {
        return base::Error(absl::StatusCode::kInvalidArgument, "CHAT_TEMPLATE_FAILED",
                           base::StrCat(variant.name, " has no chat template; send text instead of a conversation"));
      }
      LINNET_ASSIGN_OR_RETURN(prompt, variant.chat_template->Encode(ToChat(input.conversation())));
      break;
    }
    case linnet::v1::Input::kText:
      prompt = variant.tokenizer->Encode(input.text(), {.add_special = true});
      break;
    case linnet::v1::Input::kTokens:
      prompt.assign(input.tokens().ids().begin(), input.tokens().ids().end());
      break;
    case linnet::v1::Input::KIND_NOT_SET:
      break;
  }
  if (prompt.empty()) return base::FieldErrors({{std::string(field), "must be at least one token; this is none"}});
  return prompt;
}

}  // namespace linnet::worker
