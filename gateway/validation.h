// What a request must look like before it costs anything. Pure functions.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "linnet/v1/generation.pb.h"

namespace linnet::gateway {

// INVALID_FIELD with one violation per bad field (proto/generation_rules.h), all of them at once; or OK.
absl::Status ValidateGenerate(const v1::GenerateRequest& request, uint64_t max_request_bytes);
absl::Status ValidateCountTokens(const v1::CountTokensRequest& request, uint64_t max_request_bytes);

}  // namespace linnet::gateway
