// OpenAI's request bodies (JSON) into ours: POST /v1/chat/completions and POST /v1/completions.
//
// Parameters that we do not know are ignored, as OpenAI's own servers' clients expect; those that we know of, do not
// have yet and that would change the answer (tools, logprobs, penalties, ...) are refused rather than ignored. Ranges
// are checked later, with everybody's requests (validation.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "linnet/v1/generation.pb.h"

namespace linnet::gateway {

// Deeper JSON is refused.
inline constexpr int kMaxJsonDepth = 32;
// What /v1/completions generates where max_tokens is absent, as OpenAI documents it.
inline constexpr uint32_t kDefaultCompletionTokens = 16;

struct OpenAiRequest {
  v1::GenerateRequest generate;
  // /v1/chat/completions; else /v1/completions.
  bool chat = false;
  bool stream = false;
  // stream_options.include_usage
  bool include_usage = false;
};

// INVALID_FIELD with every bad parameter, by the name that OpenAI gives it; hostile bytes are an error like another.
absl::StatusOr<OpenAiRequest> ParseChatRequest(std::string_view json);
absl::StatusOr<OpenAiRequest> ParseCompletionRequest(std::string_view json);

}  // namespace linnet::gateway
