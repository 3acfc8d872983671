#include "worker/text/bpe_vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

// GPT-2's printable character for each byte: itself where printable in Latin-1, else U+0100 and up in order.
std::array<std::string, 256> ByteTexts() {
  std::array<std::string, 256> texts;
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const uint32_t c = printable ? b : next++;
    if (c < 0x80) {
      texts[b] = std::string(1, static_cast<char>(c));
    } else {
      texts[b] = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  return texts;
}

// The bytes that a normal token's text spells. Characters that stand for no byte stay as they are.
void AppendBytes(std::string_view text, const boost::unordered_flat_map<std::string_view, char>& byte_of,
                 std::string& out) {
  for (size_t at = 0; at < text.size();) {
    const size_t n = std::max<size_t>(Utf8CharBytes(text, at), 1);
    const std::string_view character = text.substr(at, n);
    const auto it = byte_of.find(character);
    if (it != byte_of.end()) {
      out.push_back(it->second);
    } else {
      out.append(character);
    }
    at += n;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeVocabulary>> BpeVocabulary::FromGguf(const GgufFile& file) {
  auto vocabulary = std::make_unique<BpeVocabulary>();
  LINNET_RETURN_IF_ERROR(vocabulary->tokens_.Read(file));
  vocabulary->SpellTokens();
  LINNET_RETURN_IF_ERROR(vocabulary->ReadMerges(file));
  return vocabulary;
}

void BpeVocabulary::SpellTokens() {
  const std::array<std::string, 256> byte_texts = ByteTexts();
  boost::unordered_flat_map<std::string_view, char> byte_of;
  for (int b = 0; b < 256; ++b) byte_of[byte_texts[b]] = static_cast<char>(b);
  for (TokenId id = 0; id < tokens_.size(); ++id) {
    byte_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
    if (tokens_.IsControl(id) || tokens_.kind(id) == TokenKind::kUserDefined) {
      bytes_.append(tokens_.text(id));
    } else {
      AppendBytes(tokens_.text(id), byte_of, bytes_);
    }
  }
  byte_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
  for (TokenId id = 0; id < tokens_.size(); ++id) {
    if (tokens_.kind(id) == TokenKind::kNormal) by_bytes_.emplace(bytes(id), id);
  }
  for (int b = 0; b < 256; ++b) {
    const TokenId id = tokens_.TokenOfText(byte_texts[b]);
    token_of_byte_[b] = id >= 0 && !tokens_.IsControl(id) ? id : -1;
  }
}

absl::Status BpeVocabulary::ReadMerges(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const auto* merges, file.FindStrings("tokenizer.ggml.merges"));
  if (merges == nullptr) return VocabularyError(file, "tokenizer.ggml.merges is missing");
  merges_.reserve(merges->size());
  std::string joined;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string_view merge = (*merges)[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return VocabularyError(
          file, absl::StrCat("merge ", rank, ", ", QuoteToken(merge), ", is no two tokens with a space between"));
    }
    joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const TokenId left = tokens_.TokenOfText(merge.substr(0, space));
    const TokenId right = tokens_.TokenOfText(merge.substr(space + 1));
    const TokenId merged = tokens_.TokenOfText(joined);
    for (TokenId id : {left, right, merged}) {
      if (id < 0)
        return VocabularyError(file, absl::StrCat("merge ", rank, ", ", QuoteToken(merge), ", names what is no token"));
      if (tokens_.IsControl(id)) {
        return VocabularyError(
            file, absl::StrCat("merge ", rank, ", ", QuoteToken(merge), ", takes part in the control token ", id));
      }
    }
    // A pair that is listed twice keeps its first, better rank.
    merges_.emplace(Pair(left, right), Merge{.rank = static_cast<int32_t>(rank), .merged = merged});
  }
  return absl::OkStatus();
}

TokenId BpeVocabulary::TokenOfBytes(std::string_view bytes) const {
  const auto it = by_bytes_.find(bytes);
  return it == by_bytes_.end() ? -1 : it->second;
}

}  // namespace linnet::worker
