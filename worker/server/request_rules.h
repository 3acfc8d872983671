// What a request must look like before anything is computed: every bad field is named in one error (INVALID_FIELD), by
// its path in the public request ("sampling.top_p"), since gateways pass the error on.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "linnet/worker/v1/worker.pb.h"

namespace linnet::worker {

// Bounds of one request beside those of proto/generation_rules.h, whatever the model.
inline constexpr uint64_t kMaxPromptBytes = 4 << 20;  // a text, or all messages and tools
// Of one gRPC message: a prompt of the greatest length as ids fits.
inline constexpr int kMaxRequestBytes = 8 << 20;

absl::Status CheckGenerate(const v1::GenerateRequest& request);
absl::Status CheckCountTokens(const v1::CountTokensRequest& request);

}  // namespace linnet::worker
