// JSON that came with a model, read with bounds, and how to speak about a checkpoint in messages. Internal to
// worker/checkpoint.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::worker {

// Published files nest six deep at most.
inline constexpr int kMaxJsonDepth = 64;

// INVALID_ARGUMENT INVALID_MODEL_FILE, naming `path`: no JSON, nested too deeply, or a key twice in one object.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, const std::string& path);
// The same, of a file; RESOURCE_EXHAUSTED above max_bytes.
absl::StatusOr<nlohmann::json> ReadJson(const std::string& path, uint64_t max_bytes);

// nullptr: `object` is none, or has no such member, or null there.
const nlohmann::json* Member(const nlohmann::json& object, std::string_view name);

// What is wrong with a checkpoint, all together. `path`: its folder, or a file of it. metadata of the error: file.
absl::Status CheckpointError(std::string_view path, const std::vector<std::string>& problems);

// Bytes from a file between quotes, escaped, and cut to a length that fits a line.
std::string Quoted(std::string_view text);

}  // namespace linnet::worker
