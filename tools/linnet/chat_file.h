// A conversation in a file, as OpenAI's chat completions API and Transformers write it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "worker/text/chat_conversation.h"

namespace linnet::cli {

// {"messages": [{"role", "content", "tool_calls"?, "tool_call_id"?, "name"?}], "tools": [...]?}. INVALID_ARGUMENT
// INVALID_FIELD names the member that is not as it should be.
absl::StatusOr<worker::ChatConversation> ReadChatFile(const std::string& path);

}  // namespace linnet::cli
