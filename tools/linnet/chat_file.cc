#include "tools/linnet/chat_file.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json_depth.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::cli {
namespace {

using nlohmann::ordered_json;

constexpr int kMaxDepth = 64;

// Reads members, and remembers the first that is not as it should be.
class Reader {
 public:
  std::string Text(const ordered_json& object, const char* name, const std::string& at, bool required) {
    const auto member = object.find(name);
    if (member == object.end() || member->is_null()) {
      if (required) Wrong(at, name, "is missing");
      return "";
    }
    if (!member->is_string()) Wrong(at, name, "must be a string");
    return member->is_string() ? member->get<std::string>() : "";
  }

  // The elements of a list of objects; none where there is no such member.
  std::vector<ordered_json> List(const ordered_json& object, const char* name, const std::string& at) {
    const auto member = object.find(name);
    if (member == object.end() || member->is_null()) return {};
    if (!member->is_array()) {
      Wrong(at, name, "must be a list");
      return {};
    }
    for (size_t i = 0; i < member->size(); ++i) {
      if (!(*member)[i].is_object()) Wrong(at, base::StrCat(name, "[", i, "]"), "must be an object");
    }
    return status_.ok() ? member->get<std::vector<ordered_json>>() : std::vector<ordered_json>{};
  }

  ordered_json Object(const ordered_json& object, const char* name, const std::string& at) {
    const auto member = object.find(name);
    if (member != object.end() && member->is_object()) return *member;
    Wrong(at, name, "must be an object");
    return ordered_json::object();
  }

  void Wrong(const std::string& at, std::string_view name, const std::string& what) {
    if (status_.ok()) status_ = base::FieldErrors({{base::StrCat(at, name), what}});
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

worker::ChatToolCall ReadCall(Reader& reader, const ordered_json& value, const std::string& at) {
  const ordered_json function = reader.Object(value, "function", at);
  const std::string in = base::StrCat(at, "function.");
  worker::ChatToolCall call = {reader.Text(value, "id", at, false), reader.Text(function, "name", in, true), ""};
  // The API has them as the text of an object, Transformers as the object.
  if (const auto arguments = function.find("arguments"); arguments != function.end()) {
    call.arguments = arguments->is_string() ? arguments->get<std::string>() : arguments->dump();
  }
  return call;
}

worker::ChatMessage ReadMessage(Reader& reader, const ordered_json& value, const std::string& at) {
  worker::ChatMessage message = {.role = reader.Text(value, "role", at, true),
                                 .content = reader.Text(value, "content", at, false),
                                 .tool_calls = {},
                                 .tool_call_id = reader.Text(value, "tool_call_id", at, false),
                                 .name = reader.Text(value, "name", at, false)};
  const std::vector<ordered_json> calls = reader.List(value, "tool_calls", at);
  for (size_t i = 0; i < calls.size(); ++i) {
    message.tool_calls.push_back(ReadCall(reader, calls[i], base::StrCat(at, "tool_calls[", i, "].")));
  }
  return message;
}

worker::ChatTool ReadTool(Reader& reader, const ordered_json& value, const std::string& at) {
  const ordered_json function = reader.Object(value, "function", at);
  const std::string in = base::StrCat(at, "function.");
  worker::ChatTool tool = {reader.Text(function, "name", in, true), reader.Text(function, "description", in, false),
                           ""};
  if (function.contains("parameters")) tool.parameters = function["parameters"].dump();
  return tool;
}

}  // namespace

absl::StatusOr<worker::ChatConversation> ReadChatFile(const std::string& path) {
  LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(path));
  ordered_json file;
  if (!base::NestsDeeperThan(text, kMaxDepth)) file = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!file.is_object()) {
    return base::FieldErrors({{path,
                               "must be a JSON object with messages: {\"messages\": [{\"role\": \"user\", "
                               "\"content\": \"Hi\"}]}"}});
  }
  Reader reader;
  worker::ChatConversation conversation;
  const std::vector<ordered_json> messages = reader.List(file, "messages", "");
  for (size_t i = 0; i < messages.size(); ++i) {
    conversation.messages.push_back(ReadMessage(reader, messages[i], base::StrCat("messages[", i, "].")));
  }
  const std::vector<ordered_json> tools = reader.List(file, "tools", "");
  for (size_t i = 0; i < tools.size(); ++i) {
    conversation.tools.push_back(ReadTool(reader, tools[i], base::StrCat("tools[", i, "].")));
  }
  if (!reader.status().ok()) return reader.status();
  return conversation;
}

}  // namespace linnet::cli
