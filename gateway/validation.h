// What a generation request must look like before it costs anything. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "linnet/v1/generation.pb.h"

namespace linnet::gateway {

inline constexpr int kMaxStopTexts = 16;
inline constexpr size_t kMaxStopBytes = 256;
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr int kMaxMessages = 4096;
inline constexpr int kMaxTools = 128;  // of a conversation; and calls of a message

// INVALID_FIELD with one violation per bad field, all of them at once; or OK.
absl::Status ValidateGenerate(const v1::GenerateRequest& request, uint64_t max_request_bytes);
absl::Status ValidateCountTokens(const v1::CountTokensRequest& request, uint64_t max_request_bytes);

// 1 to 128 printable ASCII characters.
bool IsValidRequestId(std::string_view id);

}  // namespace linnet::gateway
