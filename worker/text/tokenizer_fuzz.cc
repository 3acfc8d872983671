// Any bytes: encoded and decoded again they are the same where they are UTF-8. The first byte picks pre-tokenizer and
// options. Other inputs are a GGUF file with a vocabulary: refused, or a tokenizer that works.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "worker/text/fuzz_support.h"
#include "worker/text/test_support.h"

namespace {

using namespace linnet::worker;  // NOLINT: a program of one file

// Where the one with SentencePiece's vocabulary is.
constexpr size_t kPieces = 4;

std::vector<TokenizerFile>& Tokenizers() {
  static auto* made = [] {
    auto* all = new std::vector<TokenizerFile>;
    for (const char* pre : {"smollm", "qwen2", "llama-bpe", "default"}) {
      VocabularyBuilder builder;
      builder.pre = pre;
      for (std::string unit = "a"; unit.size() < 16; unit += unit) builder.Merge(unit, unit);
      builder.Merge("t", "h");
      builder.Merge("th", "e");
      builder.Merge("\xC4\xA0", "the");
      builder.Merge("1", "2");
      builder.Control("<|end|>");
      builder.UserDefined("<tool>");
      all->push_back(builder.Build());
    }
    VocabularyBuilder pieces{VocabularyBuilder::Empty()};
    pieces.model = "llama";
    pieces.Add("<unk>", 2);
    pieces.Control("<|end|>");
    pieces.UserDefined("<tool>");
    for (int b = 0; b < 256; ++b) pieces.Add(absl::StrFormat("<0x%02X>", b), 6);
    for (const char* piece : {"\xE2\x96\x81", "a", "t", "h", "e", "th", "the", "\xE2\x96\x81the", "aa", "aaaa"}) {
      pieces.Add(piece);
    }
    for (size_t i = 0; i < pieces.tokens.size(); ++i) pieces.scores.push_back(-static_cast<float>(i));
    pieces.extra.Bool("tokenizer.ggml.add_space_prefix", 0);
    all->push_back(pieces.Build());
    return all;
  }();
  return *made;
}

// The ones above have every byte, and no need for an unknown token.
bool NoUnknown(TokenId id) { return false; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("GGUF")) {
    const auto file = GgufFile::Parse(BytesOf(input), "fuzz.gguf");
    if (!file.ok()) return 0;
    const auto tokenizer = Tokenizer::FromGguf(**file);
    if (tokenizer.ok()) CheckEncoding(**tokenizer, kFuzzText, {.parse_special = true}, NoUnknown);
    return 0;
  }
  if (input.empty()) return 0;
  const size_t which = (data[0] & 7) % Tokenizers().size();
  // The letter that stands for a space becomes one.
  const bool whole_alphabet = which != kPieces || input.find("\xE2\x96\x81") == std::string_view::npos;
  const std::string_view text = input.substr(1);
  const std::string bytes =
      CheckEncoding(*Tokenizers()[which].tokenizer, text, {.parse_special = (data[0] & 8) != 0}, NoUnknown);
  if (whole_alphabet && ReplaceBrokenUtf8(text) == text && bytes != text) abort();
  return 0;
}
