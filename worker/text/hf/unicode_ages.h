// Where the tables in Hugging Face's library are of another version of Unicode than utf8proc's: older ones for
// punctuation, marks and decompositions, newer ones for numbers and lower case. Found by comparing all characters with
// tokenizers 0.23. Internal to worker/text/hf.
#pragma once

#include <cstdint>
#include <optional>

namespace linnet::worker::hf {

// What the library says of a character where utf8proc says otherwise; nullopt: both say the same.
std::optional<bool> PunctuationByAge(uint32_t c);
std::optional<bool> CombiningMarkByAge(uint32_t c);
std::optional<bool> NumericByAge(uint32_t c);
std::optional<uint32_t> LowercaseByAge(uint32_t c);
// The library leaves it as it is.
bool DecomposesSinceThen(uint32_t c);

}  // namespace linnet::worker::hf
