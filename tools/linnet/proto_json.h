// Messages as JSON for people and scripts: proto field names, numbers as numbers (also 64-bit ones), enums by name,
// timestamps as RFC 3339 text, durations as seconds; fields at their default are there too, unset messages are not.
#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>

namespace linnet::cli {

nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

}  // namespace linnet::cli
