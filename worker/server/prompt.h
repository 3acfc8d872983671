// A request's input as the prompt's tokens.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "linnet/v1/generation.pb.h"
#include "worker/server/loaded_variant.h"

namespace linnet::worker {

// Conversations go through the model's chat template; text is continued as it stands, with BOS where the model asks for
// it; ids are taken as they are. REQUIRES: the input passed request_rules.h. `field`: its path, for messages.
// INVALID_ARGUMENT CHAT_TEMPLATE_FAILED, INVALID_FIELD (no token at all). Takes time that grows with the input.
absl::StatusOr<std::vector<TokenId>> EncodePrompt(const linnet::v1::Input& input, std::string_view field,
                                                  const LoadedVariant& variant);

}  // namespace linnet::worker
