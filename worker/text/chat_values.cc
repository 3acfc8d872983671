#include "worker/text/chat_values.h"

#include <utility>

#include "base/error.h"
#include "base/json_depth.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

using nlohmann::ordered_json;
using Visit = std::function<void(std::string&)>;

constexpr int kMaxDepth = 64;
// An object that keeps its order finds a member by looking at all of them.
constexpr int kMaxMembers = 1024;

absl::StatusOr<ordered_json> ParseObject(const std::string& text, const std::string& field) {
  if (text.empty()) return ordered_json::object();
  const auto wrong = [&](const char* what) { return base::FieldErrors({{field, what}}); };
  if (base::NestsDeeperThan(text, kMaxDepth)) return wrong("nests deeper than 64 levels");
  int members = 0;  // those above the bound are not kept
  const auto keep = [&](int /*depth*/, ordered_json::parse_event_t event, ordered_json& /*parsed*/) {
    return event != ordered_json::parse_event_t::key || ++members <= kMaxMembers;
  };
  ordered_json object = ordered_json::parse(ReplaceBrokenUtf8(text), keep, /*allow_exceptions=*/false);
  if (!object.is_object()) return wrong("must be a JSON object");
  if (members > kMaxMembers) return wrong("has more than 1024 members, those of inner objects included");
  return object;
}

absl::StatusOr<ordered_json> CallValue(const ChatToolCall& call, const std::string& field) {
  LINNET_ASSIGN_OR_RETURN(ordered_json arguments, ParseObject(call.arguments, base::StrCat(field, ".arguments")));
  ordered_json value = ordered_json::object();
  if (!call.id.empty()) value["id"] = ReplaceBrokenUtf8(call.id);
  value["type"] = "function";
  value["function"] = {{"name", ReplaceBrokenUtf8(call.name)}, {"arguments", std::move(arguments)}};
  return value;
}

absl::StatusOr<ordered_json> MessageValue(const ChatMessage& message, const std::string& field) {
  ordered_json value = {{"role", ReplaceBrokenUtf8(message.role)}, {"content", ReplaceBrokenUtf8(message.content)}};
  for (size_t i = 0; i < message.tool_calls.size(); ++i) {
    LINNET_ASSIGN_OR_RETURN(ordered_json call,
                            CallValue(message.tool_calls[i], base::StrCat(field, ".tool_calls[", i, "]")));
    value["tool_calls"].push_back(std::move(call));
  }
  if (!message.tool_call_id.empty()) value["tool_call_id"] = ReplaceBrokenUtf8(message.tool_call_id);
  if (!message.name.empty()) value["name"] = ReplaceBrokenUtf8(message.name);
  return value;
}

absl::StatusOr<ordered_json> ToolValue(const ChatTool& tool, const std::string& field) {
  ordered_json function = {{"name", ReplaceBrokenUtf8(tool.name)},
                           {"description", ReplaceBrokenUtf8(tool.description)}};
  if (!tool.parameters.empty()) {
    LINNET_ASSIGN_OR_RETURN(function["parameters"], ParseObject(tool.parameters, base::StrCat(field, ".parameters")));
  }
  return ordered_json{{"type", "function"}, {"function", std::move(function)}};
}

// All keys and strings in it.
void VisitAll(ordered_json& value, const Visit& visit) {
  if (value.is_string()) {
    visit(value.get_ref<std::string&>());
  } else if (value.is_array()) {
    for (ordered_json& element : value) VisitAll(element, visit);
  } else if (value.is_object()) {
    ordered_json visited = ordered_json::object();
    for (auto& [key, member] : value.items()) {
      std::string name = key;
      visit(name);
      VisitAll(member, visit);
      visited[name] = std::move(member);
    }
    value = std::move(visited);
  }
}

// Its members of these names, where there are any.
void VisitMembers(ordered_json& object, std::initializer_list<const char*> names, const Visit& visit) {
  for (const char* name : names) {
    if (const auto member = object.find(name); member != object.end()) VisitAll(*member, visit);
  }
}

}  // namespace

absl::StatusOr<ordered_json> ChatValues(const ChatConversation& conversation) {
  ordered_json values = {{"messages", ordered_json::array()}, {"tools", nullptr}, {"documents", nullptr}};
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    LINNET_ASSIGN_OR_RETURN(ordered_json message,
                            MessageValue(conversation.messages[i], base::StrCat("messages[", i, "]")));
    values["messages"].push_back(std::move(message));
  }
  for (size_t i = 0; i < conversation.tools.size(); ++i) {
    LINNET_ASSIGN_OR_RETURN(ordered_json tool, ToolValue(conversation.tools[i], base::StrCat("tools[", i, "]")));
    values["tools"].push_back(std::move(tool));
  }
  return values;
}

void VisitTexts(ordered_json& values, const Visit& visit) {
  for (ordered_json& message : values["messages"]) {
    VisitMembers(message, {"content", "tool_call_id", "name"}, visit);
    if (const auto calls = message.find("tool_calls"); calls != message.end()) {
      for (ordered_json& call : *calls) {
        VisitMembers(call, {"id"}, visit);
        VisitMembers(call["function"], {"name", "arguments"}, visit);
      }
    }
  }
  for (ordered_json& tool : values["tools"]) {
    VisitMembers(tool["function"], {"name", "description", "parameters"}, visit);
  }
}

}  // namespace linnet::worker
