// What a token of a vocabulary is.
#pragma once

#include <cstdint>
#include <string_view>

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

// Whether a piece spells a byte, as SentencePiece does: <0x0A>.
inline bool SpellsByte(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
}

}  // namespace linnet::worker
