#include "worker/server/prompt.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker {

absl::StatusOr<std::vector<TokenId>> EncodePrompt(const linnet::v1::Input& input, std::string_view field,
                                                  const LoadedVariant& variant) {
  std::vector<TokenId> prompt;
  switch (input.kind_case()) {
    case linnet::v1::Input::kConversation: {
      if (variant.chat_template == nullptr) {
        return base::Error(absl::StatusCode::kInvalidArgument, "CHAT_TEMPLATE_FAILED",
                           base::StrCat(variant.name, " has no chat template; send text instead of a conversation"));
      }
      std::vector<ChatMessage> messages;
      messages.reserve(input.conversation().messages_size());
      for (const linnet::v1::Message& m : input.conversation().messages()) messages.push_back({m.role(), m.content()});
      LINNET_ASSIGN_OR_RETURN(prompt, variant.chat_template->Encode(messages));
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
