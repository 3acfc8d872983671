#include "worker/text/utf8.h"

#include <algorithm>
#include <cstdint>

namespace linnet::worker {
namespace {

uint8_t Byte(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]); }

// Length that a lead byte announces; 0: no lead byte (of strict UTF-8).
size_t LeadBytes(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// How many bytes from text[at] on agree with one character (Unicode 15, table 3-7).
size_t GoodBytes(std::string_view text, size_t at, size_t length) {
  const uint8_t lead = Byte(text, at);
  size_t good = 1;
  while (good < length && at + good < text.size()) {
    const uint8_t b = Byte(text, at + good);
    uint8_t low = 0x80, high = 0xBF;
    if (good == 1) {
      if (lead == 0xE0) low = 0xA0;   // overlong
      if (lead == 0xED) high = 0x9F;  // surrogates
      if (lead == 0xF0) low = 0x90;   // overlong
      if (lead == 0xF4) high = 0x8F;  // above U+10FFFF
    }
    if (b < low || b > high) break;
    ++good;
  }
  return good;
}

}  // namespace

size_t Utf8CharBytes(std::string_view text, size_t at) {
  const size_t length = LeadBytes(Byte(text, at));
  return length != 0 && GoodBytes(text, at, length) == length ? length : 0;
}

bool IsUtf8Beginning(std::string_view text, size_t at) {
  const size_t length = LeadBytes(Byte(text, at));
  if (length < 2) return false;
  const size_t good = GoodBytes(text, at, length);
  return good < length && at + good == text.size();
}

std::string ReplaceBrokenUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = LeadBytes(Byte(text, at));
    const size_t good = length == 0 ? 0 : GoodBytes(text, at, length);
    if (length != 0 && good == length) {
      out.append(text.substr(at, length));
    } else {
      out.append(kReplacementCharacter);
    }
    at += std::max<size_t>(good, 1);
  }
  return out;
}

std::string TokenizerUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (const size_t bytes = Utf8CharBytes(text, at); bytes != 0) {
      out.append(text.substr(at, bytes));
      at += bytes;
      continue;
    }
    const bool surrogate = at + 2 < text.size() && Byte(text, at) == 0xED && Byte(text, at + 1) >= 0xA0 &&
                           Byte(text, at + 1) <= 0xBF && (Byte(text, at + 2) & 0xC0) == 0x80;
    if (surrogate) {
      out.append(text.substr(at, 3));
      at += 3;
    } else {
      out.append(kReplacementCharacter);
      ++at;
    }
  }
  return out;
}

}  // namespace linnet::worker
