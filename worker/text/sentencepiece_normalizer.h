// What SentencePiece does to a text before it cuts it into pieces: normalization rules, spaces made one, spaces spelled
// by the letter U+2581, one of them before the text. Internal to worker/text.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/text/charsmap.h"

namespace linnet::worker {

inline constexpr std::string_view kSentencePieceSpace = "\xE2\x96\x81";

// `text` with the letter that stands for a space turned into one.
std::string WithSpaces(std::string_view text);

// Thread-safe (const).
class SentencePieceNormalizer {
 public:
  struct Options {
    // Broken UTF-8 stays as it is where the file has no rules. Otherwise each of its bytes becomes U+FFFD.
    bool keep_broken_utf8 = false;
  };

  // From tokenizer.ggml.precompiled_charsmap, .add_space_prefix (by default true) and .remove_extra_whitespaces (by
  // default false). INVALID_ARGUMENT INVALID_MODEL_FILE: not as they should be.
  static absl::StatusOr<SentencePieceNormalizer> FromGguf(const GgufFile& file, const Options& options);

  // A part of a text without special tokens. `begins`, `ends`: it is the first or the last, or a control token stands
  // before or behind it.
  std::string Normalize(std::string_view text, bool begins, bool ends) const;

 private:
  SentencePieceNormalizer() = default;
  // What the first character, or the first rule, turns into, and how many bytes that takes.
  std::pair<std::string_view, size_t> Step(std::string_view text) const;

  Charsmap charsmap_;
  bool add_space_prefix_ = true;
  bool remove_extra_spaces_ = false;
  bool keep_broken_utf8_ = false;
};

}  // namespace linnet::worker
