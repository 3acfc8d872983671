#include "worker/text/bpe_vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/text/byte_letters.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

// The bytes that a normal token's text spells. Characters that stand for no byte stay as they are.
void AppendBytes(std::string_view text, std::string& out) {
  for (size_t at = 0; at < text.size();) {
    const size_t n = std::max<size_t>(Utf8CharBytes(text, at), 1);
    const std::string_view character = text.substr(at, n);
    out.append(FromByteLetters(character).value_or(std::string(character)));
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
  for (TokenId id = 0; id < tokens_.size(); ++id) {
    byte_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
    if (tokens_.IsControl(id) || tokens_.kind(id) == TokenKind::kUserDefined) {
      bytes_.append(tokens_.text(id));
    } else {
      AppendBytes(tokens_.text(id), bytes_);
    }
  }
  byte_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
  for (TokenId id = 0; id < tokens_.size(); ++id) {
    if (tokens_.kind(id) == TokenKind::kNormal) by_bytes_.emplace(bytes(id), id);
  }
  for (int b = 0; b < 256; ++b) {
    const TokenId id = tokens_.TokenOfText(ByteLetters()[static_cast<size_t>(b)]);
    token_of_byte_[b] = id >= 0 && !tokens_.IsControl(id) ? id : -1;
  }
}

absl::Status BpeVocabulary::ReadMerges(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const auto* merges, file.FindStrings("tokenizer.ggml.merges"));
  if (merges == nullptr) return VocabularyError(file, "tokenizer.ggml.merges is missing");
  merges_.Reserve(merges->size());
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
    merges_.Add(left, right, {.rank = static_cast<int32_t>(rank), .merged = merged});
  }
  return absl::OkStatus();
}

TokenId BpeVocabulary::TokenOfBytes(std::string_view bytes) const {
  const auto it = by_bytes_.find(bytes);
  return it == by_bytes_.end() ? -1 : it->second;
}

}  // namespace linnet::worker
