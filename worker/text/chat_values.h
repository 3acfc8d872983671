// What a template sees of a conversation, as JSON, and where users' text is in it. Internal to worker/text.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "worker/text/chat_conversation.h"

namespace linnet::worker {

// {"messages": [...], "tools": [...] or null, "documents": null}, as Transformers' apply_chat_template hands it over.
// Broken UTF-8 is replaced. INVALID_ARGUMENT INVALID_FIELD: arguments or parameters that are no JSON object, nest too
// deeply or have too many members.
absl::StatusOr<nlohmann::ordered_json> ChatValues(const ChatConversation& conversation);

// Shows every text that users wrote (not roles), which may be changed: contents, names, ids, and keys and strings
// within arguments and parameters.
void VisitTexts(nlohmann::ordered_json& values, const std::function<void(std::string& text)>& visit);

}  // namespace linnet::worker
