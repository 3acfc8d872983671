// GPT-2's printable letter for each byte. Internal to worker/text.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace linnet::worker {

// Of byte b at [b]: itself where it is printable in Latin-1, else U+0100 and up in order.
const std::array<std::string, 256>& ByteLetters();

// `text` byte by byte in those letters.
std::string ToByteLetters(std::string_view text);
// The bytes that `text` spells; nullopt where a character of it stands for no byte.
std::optional<std::string> FromByteLetters(std::string_view text);

}  // namespace linnet::worker
