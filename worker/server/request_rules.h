// What a request must look like before anything is computed: every bad field is named in one error (INVALID_FIELD), by
// its path in the public request ("sampling.top_p"), since gateways pass the error on.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "linnet/v1/generation.pb.h"
#include "linnet/worker/v1/worker.pb.h"

namespace linnet::worker {

// Bounds of one request, whatever the model.
inline constexpr uint64_t kMaxPromptBytes = 4 << 20;  // text of all messages
inline constexpr int kMaxPromptTokens = 1 << 20;      // as ids
inline constexpr int kMaxMessages = 4096;
inline constexpr int kMaxTools = 128;  // of a conversation; and calls of a message
inline constexpr int kMaxRoleBytes = 64;
inline constexpr int kMaxStopTexts = 16;
inline constexpr int kMaxStopBytes = 256;
inline constexpr int kMaxRequestIdBytes = 128;
// Of one gRPC message: a prompt of the greatest length as ids fits.
inline constexpr int kMaxRequestBytes = 8 << 20;

absl::Status CheckGenerate(const v1::GenerateRequest& request);
absl::Status CheckCountTokens(const v1::CountTokensRequest& request);

}  // namespace linnet::worker
