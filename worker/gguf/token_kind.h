// What a token of a vocabulary is.
#pragma once

#include <cstdint>

namespace linnet::worker {

// GGUF's tokenizer.ggml.token_type.
enum class TokenKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

}  // namespace linnet::worker
