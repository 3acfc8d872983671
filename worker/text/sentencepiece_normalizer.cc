#include "worker/text/sentencepiece_normalizer.h"

#include <algorithm>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/utf8.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker {
namespace {

void AppendSpelled(std::string_view text, std::string& out) {
  for (const char c : text) {
    if (c == ' ') {
      out.append(kSentencePieceSpace);
    } else {
      out.push_back(c);
    }
  }
}

}  // namespace

std::string WithSpaces(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const bool space = text.substr(at).starts_with(kSentencePieceSpace);
    out.push_back(space ? ' ' : text[at]);
    at += space ? kSentencePieceSpace.size() : 1;
  }
  return out;
}

absl::StatusOr<SentencePieceNormalizer> SentencePieceNormalizer::FromGguf(const GgufFile& file,
                                                                          const Options& options) {
  SentencePieceNormalizer made;
  LINNET_ASSIGN_OR_RETURN(made.add_space_prefix_, file.GetBoolOr("tokenizer.ggml.add_space_prefix", true));
  LINNET_ASSIGN_OR_RETURN(made.remove_extra_spaces_, file.GetBoolOr("tokenizer.ggml.remove_extra_whitespaces", false));
  constexpr std::string_view kCharsmap = "tokenizer.ggml.precompiled_charsmap";
  LINNET_ASSIGN_OR_RETURN(const auto* numbers, file.FindInts(kCharsmap));
  std::string bytes;
  if (numbers != nullptr) {
    for (const int64_t number : *numbers) {
      if (number < -128 || number > 255) return VocabularyError(file, base::StrCat(kCharsmap, " is no array of bytes"));
      bytes.push_back(static_cast<char>(number));
    }
  }
  absl::StatusOr<Charsmap> charsmap = Charsmap::Parse(bytes);
  if (!charsmap.ok()) return VocabularyError(file, base::StrCat(kCharsmap, ": ", charsmap.status().message()));
  made.charsmap_ = *std::move(charsmap);
  made.keep_broken_utf8_ = options.keep_broken_utf8 && made.charsmap_.empty();
  return made;
}

std::pair<std::string_view, size_t> SentencePieceNormalizer::Step(std::string_view text) const {
  if (const std::optional<Charsmap::Rule> rule = charsmap_.Longest(text)) return {rule->replacement, rule->bytes};
  const size_t bytes = Utf8CharBytes(text, 0);
  if (bytes == 0 && !keep_broken_utf8_) return {kReplacementCharacter, 1};
  return {text.substr(0, std::max<size_t>(bytes, 1)), std::max<size_t>(bytes, 1)};
}

std::string SentencePieceNormalizer::Normalize(std::string_view text, bool begins, bool ends) const {
  std::string out;
  if (remove_extra_spaces_ && begins) {
    while (!text.empty()) {
      const auto [step, bytes] = Step(text);
      if (step != " ") break;
      text.remove_prefix(bytes);
    }
  }
  if (text.empty()) return out;
  if (add_space_prefix_ && begins) out.append(kSentencePieceSpace);
  bool behind_space = remove_extra_spaces_ && begins;
  while (!text.empty()) {
    auto [step, bytes] = Step(text);
    text.remove_prefix(bytes);
    while (behind_space && step.starts_with(' ')) step.remove_prefix(1);
    if (step.empty()) continue;
    AppendSpelled(step, out);
    behind_space = remove_extra_spaces_ && step.ends_with(' ');
  }
  while (remove_extra_spaces_ && ends && out.ends_with(kSentencePieceSpace)) {
    out.resize(out.size() - kSentencePieceSpace.size());
  }
  return out;
}

}  // namespace linnet::worker
