// A variant that answers at once with fixed tokens and computes nothing: what is left is the cost of serving, so the
// difference between calling it directly and through the gateway is what the gateway adds.
#pragma once

#include <memory>

#include "worker/server/loaded_variant.h"

namespace linnet::worker {

inline constexpr char kStubVariant[] = "models/stub/variants/stub";
// Generated where the request sets no max_tokens.
inline constexpr uint32_t kStubTokens = 16;

// A tokenizer of bytes, a template that joins the messages, and an engine that says " tok" for every token asked for.
std::unique_ptr<LoadedVariant> MakeStubVariant();

}  // namespace linnet::worker
