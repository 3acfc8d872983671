#include "worker/text/byte_letters.h"

#include <cstdint>

namespace linnet::worker {
namespace {

constexpr uint32_t kLetters = 0x144;  // the last is U+0143

std::array<std::string, 256> MakeLetters() {
  std::array<std::string, 256> letters;
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const uint32_t c = printable ? b : next++;
    if (c < 0x80) {
      letters[b] = std::string(1, static_cast<char>(c));
    } else {
      letters[b] = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  return letters;
}

// By code point of the letter; -1: none.
std::array<int, kLetters> MakeBytes() {
  std::array<int, kLetters> bytes;
  bytes.fill(-1);
  for (int b = 0; b < 256; ++b) {
    const std::string& letter = ByteLetters()[static_cast<size_t>(b)];
    const auto first = static_cast<unsigned char>(letter[0]);
    const size_t c =
        letter.size() == 1 ? first : (first & 0x1Fu) << 6 | (static_cast<unsigned char>(letter[1]) & 0x3Fu);
    bytes[c] = b;
  }
  return bytes;
}

}  // namespace

const std::array<std::string, 256>& ByteLetters() {
  static const auto* letters = new std::array<std::string, 256>(MakeLetters());
  return *letters;
}

std::string ToByteLetters(std::string_view text) {
  std::string out;
  out.reserve(text.size() * 2);
  for (const char c : text) out += ByteLetters()[static_cast<uint8_t>(c)];
  return out;
}

std::optional<std::string> FromByteLetters(std::string_view text) {
  static const auto* bytes = new std::array<int, kLetters>(MakeBytes());
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at++]);
    size_t c = first;
    if (first >= 0x80) {
      if (first < 0xC2 || first > 0xDF || at == text.size()) return std::nullopt;
      c = (first & 0x1Fu) << 6 | (static_cast<unsigned char>(text[at++]) & 0x3Fu);
    }
    if (c >= kLetters || (*bytes)[c] < 0) return std::nullopt;
    out += static_cast<char>((*bytes)[c]);
  }
  return out;
}

}  // namespace linnet::worker
