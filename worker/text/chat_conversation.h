// A conversation as chat templates see it: what Transformers' apply_chat_template takes as `messages` and `tools`.
#pragma once

#include <string>
#include <vector>

namespace linnet::worker {

// A function that the assistant called.
struct ChatToolCall {
  std::string id, name;
  std::string arguments;  // a JSON object; empty: {}
};

struct ChatMessage {
  std::string role;
  std::string content;
  std::vector<ChatToolCall> tool_calls;  // of the assistant
  std::string tool_call_id, name;        // of an answer to one: which, and the function's name; empty: not said
};

// A function that the assistant may call.
struct ChatTool {
  std::string name, description;
  std::string parameters;  // their JSON Schema, an object; empty: none are stated
};

struct ChatConversation {
  std::vector<ChatMessage> messages;
  std::vector<ChatTool> tools;
};

}  // namespace linnet::worker
