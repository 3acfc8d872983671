// UTF-8 that may be broken. Internal to worker/text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace linnet::worker {

// Bytes of the character that begins at text[at] (1 to 4), or 0 where none does. REQUIRES: at < text.size().
size_t Utf8CharBytes(std::string_view text, size_t at);

// True where text[at...] is the beginning of a character that more bytes could complete.
bool IsUtf8Beginning(std::string_view text, size_t at);

// Valid UTF-8: each longest beginning of a character that is never completed becomes one U+FFFD, and so does each byte
// that cannot begin one (the practice that Unicode and WHATWG recommend; what streams show).
std::string ReplaceBrokenUtf8(std::string_view text);

// What llama.cpp's tokenizer makes of broken text, so that ids agree: each byte that begins no character becomes
// U+FFFD, overlong forms become the character that they spell, and surrogates stay. The result is well-formed but for
// those.
std::string TokenizerUtf8(std::string_view text);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

}  // namespace linnet::worker
