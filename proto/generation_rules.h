// What linnet.v1.GenerateRequest and CountTokensRequest may hold, whatever the model: checked where a request comes in
// and once more by whoever computes it. Every bad field is named, by its path ("sampling.top_p"). Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "linnet/v1/generation.pb.h"

namespace linnet {

inline constexpr int kMaxMessages = 4096;
inline constexpr int kMaxTools = 128;  // of a conversation; and calls of a message
inline constexpr size_t kMaxRoleBytes = 64;
inline constexpr size_t kMaxFunctionNameBytes = 64;
inline constexpr int kMaxPromptTokens = 1 << 20;  // as ids
inline constexpr int kMaxStopTexts = 16;
inline constexpr size_t kMaxStopBytes = 256;
inline constexpr size_t kMaxRequestIdBytes = 128;

// {field, what is wrong with it} each. Of one list of a request only so many elements are named that an answer stays
// small.
using Violations = std::vector<std::pair<std::string, std::string>>;
// INVALID_FIELD with all of them, OK where there are none.
absl::Status ToStatus(const Violations& bad);

// The field `input` of either.
void CheckInput(const v1::Input& input, Violations& bad);
// All fields but `model`.
void CheckGenerate(const v1::GenerateRequest& request, Violations& bad);

// 1 to 128 printable ASCII characters.
bool IsValidRequestId(std::string_view id);

}  // namespace linnet
