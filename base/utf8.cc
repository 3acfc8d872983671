#include "base/utf8.h"

#include <cstdint>

namespace linnet::base {
namespace {

// Bytes of the valid sequence (Unicode, table 3-7) at the start of `s`, or 0.
size_t SequenceLength(std::string_view s) {
  const auto byte = [&](size_t i) -> uint8_t { return i < s.size() ? static_cast<uint8_t>(s[i]) : 0; };
  const auto in = [&](size_t i, uint8_t low, uint8_t high) { return byte(i) >= low && byte(i) <= high; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return in(1, 0x80, 0xBF) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const uint8_t low = lead == 0xE0 ? 0xA0 : 0x80;
    const uint8_t high = lead == 0xED ? 0x9F : 0xBF;  // no surrogates
    return in(1, low, high) && in(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const uint8_t low = lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xF4 ? 0x8F : 0xBF;  // up to U+10FFFF
    return in(1, low, high) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string BoundedUtf8(std::string_view text, size_t max_bytes) {
  std::string out;
  size_t cut = 0;  // where "..." still fits
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const size_t taken = length == 0 ? 1 : length;
    if (out.size() + taken > max_bytes) {
      out.resize(cut);
      return out + "...";
    }
    if (length == 0) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    if (out.size() + 3 <= max_bytes) cut = out.size();
    text.remove_prefix(taken);
  }
  return out;
}

}  // namespace linnet::base
