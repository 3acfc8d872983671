// Unicode as Hugging Face's tokenizers have it: normalization forms and classes of characters, by utf8proc.
// Internal to worker/text/hf. All texts are well-formed UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace linnet::worker::hf {

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

// Unicode Standard Annex 15. n log n at most, also where a text is one long run of combining marks.
std::string NormalizeUnicode(std::string_view text, NormalizationForm form);

// Each character for itself, by the mapping of Unicode's SpecialCasing that depends on nothing.
std::string Lowercase(std::string_view text);

bool IsWhitespace(uint32_t c);     // White_Space
bool IsNumeric(uint32_t c);        // Nd, Nl, No
bool IsPunctuation(uint32_t c);    // P*, and the ASCII symbols
bool IsCombiningMark(uint32_t c);  // Mn, Mc, Me

// The character at text[at], and moves `at` behind it. REQUIRES: at < text.size().
uint32_t NextCharacter(std::string_view text, size_t& at);
// The character that ends at text[end], and moves `end` before it. REQUIRES: end > 0.
uint32_t PreviousCharacter(std::string_view text, size_t& end);
void AppendCharacter(uint32_t c, std::string& out);

}  // namespace linnet::worker::hf
