#include "worker/text/hf/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "worker/text/hf/unicode_ages.h"

namespace linnet::worker::hf {
namespace {

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// A mark that the library's tables do not have: nothing moves past it, nothing is composed across it.
bool IsNewMark(int32_t c) { return CombiningMarkByAge(static_cast<uint32_t>(c)) == false; }

int CombiningClass(int32_t c) { return IsNewMark(c) ? 0 : utf8proc_get_property(c)->combining_class; }

// In place, of characters decomposed and sorted. Returns how many are left.
size_t Compose(std::vector<int32_t>& characters) {
  size_t done = 0;
  for (auto begin = characters.begin(); begin != characters.end();) {
    const auto end = std::find_if(begin, characters.end(), IsNewMark);
    const auto n = utf8proc_normalize_utf32(&*begin, end - begin,
                                            static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    const auto composed = std::copy(begin, begin + n, characters.begin() + static_cast<ptrdiff_t>(done));
    done = static_cast<size_t>(composed - characters.begin());
    if (end == characters.end()) break;
    characters[done++] = *end;
    begin = end + 1;
  }
  return done;
}

}  // namespace

std::string NormalizeUnicode(std::string_view text, NormalizationForm form) {
  if (IsAscii(text)) return std::string(text);
  const bool compatible = form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? static_cast<int>(UTF8PROC_COMPAT) : 0));
  std::vector<int32_t> characters;
  int32_t parts[32];  // the longest decomposition has 18
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<int32_t>(NextCharacter(text, at));
    int boundary = 0;
    const auto n =
        DecomposesSinceThen(static_cast<uint32_t>(c)) ? 0 : utf8proc_decompose_char(c, parts, 32, options, &boundary);
    if (n >= 1 && n <= 32) {
      characters.insert(characters.end(), parts, parts + n);
    } else {
      characters.push_back(c);
    }
  }
  // utf8proc sorts marks too, pair by pair. A long run of them would cost its square.
  for (size_t begin = 0; begin < characters.size();) {
    size_t end = begin + 1;
    if (CombiningClass(characters[begin]) != 0) {
      while (end < characters.size() && CombiningClass(characters[end]) != 0) ++end;
      std::stable_sort(characters.begin() + static_cast<ptrdiff_t>(begin),
                       characters.begin() + static_cast<ptrdiff_t>(end),
                       [](int32_t a, int32_t b) { return CombiningClass(a) < CombiningClass(b); });
    }
    begin = end;
  }
  const bool composes = form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc;
  characters.resize(composes ? Compose(characters) : characters.size());
  std::string out;
  for (const int32_t c : characters) AppendCharacter(static_cast<uint32_t>(c), out);
  return out;
}

std::string Lowercase(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const uint32_t c = NextCharacter(text, at);
    if (c == 0x130) {  // the only one that becomes two
      out += "i\xCC\x87";
    } else {
      const auto lower = static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(c)));
      AppendCharacter(LowercaseByAge(c).value_or(lower), out);
    }
  }
  return out;
}

bool IsWhitespace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(uint32_t c) {
  if (const std::optional<bool> answer = NumericByAge(c); answer.has_value()) return *answer;
  const utf8proc_category_t category = utf8proc_category(static_cast<int32_t>(c));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool IsPunctuation(uint32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  if (const std::optional<bool> answer = PunctuationByAge(c); answer.has_value()) return *answer;
  const utf8proc_category_t category = utf8proc_category(static_cast<int32_t>(c));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsCombiningMark(uint32_t c) {
  if (const std::optional<bool> answer = CombiningMarkByAge(c); answer.has_value()) return *answer;
  const utf8proc_category_t category = utf8proc_category(static_cast<int32_t>(c));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

uint32_t NextCharacter(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t lead = byte(at);
  const size_t bytes = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t c = bytes == 1 ? lead : lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes && at + i < text.size(); ++i) c = c << 6 | (byte(at + i) & 0x3F);
  at = std::min(at + bytes, text.size());
  return c;
}

uint32_t PreviousCharacter(std::string_view text, size_t& end) {
  --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  size_t at = end;
  return NextCharacter(text, at);
}

void AppendCharacter(uint32_t c, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<int32_t>(c), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

}  // namespace linnet::worker::hf
