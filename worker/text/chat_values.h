// What a template sees of a conversation, as JSON, and where users' text is in it. Internal to worker/text.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "worker/text/chat_conversation.h"

namespace linnet::worker {

// {"messages": [...], "tools": [...] or null, "documents": null}, as Transformers' apply_chat_template hands it over.
// Broken UTF-8 is replaced. INVALID_ARGUMENT INVALID_FIELD: arguments or parameters that are no JSON object or nest too
// deeply.
absl::StatusOr<nlohmann::ordered_json> ChatValues(const ChatConversation& conversation);

// Replaces every text that users wrote (not roles) by what `change` makes of it: contents, names, ids, and keys and
// strings within arguments and parameters.
void ChangeTexts(nlohmann::ordered_json& values, const std::function<std::string(const std::string&)>& change);

}  // namespace linnet::worker
