#include "worker/text/bpe_vocabulary.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

constexpr size_t kMaxTokens = 1 << 22;

// Tokens that end a turn in models whose files do not say so. Where a file gives such a token another kind than
// control, it is taken for one all the same, as llama.cpp does.
constexpr std::string_view kEndOfTurnTexts[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>",         "<end_of_turn>", "<|endoftext|>",      "<|eom_id|>",
    "<EOT>",      "_<EOT>",     "<|end_of_text|>", "<|return|>",    "<end_of_utterance>", "<｜end▁of▁sentence｜>",
};

absl::Status Invalid(const GgufFile& file, std::string what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                     absl::StrCat(file.path(), ": tokenizer: ", what, "; convert the model again"),
                     {{"file", file.path()}});
}

std::string Quote(std::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(std::string(text.substr(0, 60))), "\"");
}

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
  LINNET_RETURN_IF_ERROR(vocabulary->ReadTokens(file));
  LINNET_RETURN_IF_ERROR(vocabulary->ReadMerges(file));
  LINNET_RETURN_IF_ERROR(vocabulary->ReadSpecialIds(file));
  return vocabulary;
}

absl::Status BpeVocabulary::ReadTokens(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const auto* tokens, file.FindStrings("tokenizer.ggml.tokens"));
  if (tokens == nullptr || tokens->empty()) return Invalid(file, "tokenizer.ggml.tokens is missing or empty");
  if (tokens->size() > kMaxTokens) return Invalid(file, absl::StrCat(tokens->size(), " tokens are too many"));
  LINNET_ASSIGN_OR_RETURN(const auto* types, file.FindInts("tokenizer.ggml.token_type"));
  if (types != nullptr && types->size() != tokens->size()) {
    return Invalid(file, absl::StrCat("tokenizer.ggml.token_type has ", types->size(), " elements for ", tokens->size(),
                                      " tokens"));
  }
  uint64_t total_bytes = 0;
  texts_.reserve(tokens->size());  // by_text_ refers to them in place
  for (size_t i = 0; i < tokens->size(); ++i) {
    const int64_t type = types == nullptr ? 1 : (*types)[i];
    if (type < 1 || type > 6) return Invalid(file, absl::StrCat("token ", i, " has the unknown type ", type));
    texts_.emplace_back((*tokens)[i].empty() ? absl::StrCat("[EMPTY_", i, "]") : std::string((*tokens)[i]));
    kinds_.push_back(static_cast<TokenKind>(type));
    total_bytes += texts_.back().size();
    const auto [it, fresh] = by_text_.emplace(texts_.back(), static_cast<TokenId>(i));
    if (!fresh) return Invalid(file, absl::StrCat("tokens ", it->second, " and ", i, " are both ", Quote(texts_[i])));
  }
  if (total_bytes > std::numeric_limits<uint32_t>::max()) return Invalid(file, "the tokens' texts exceed 4 GiB");
  for (std::string_view text : kEndOfTurnTexts) {
    if (const TokenId id = TokenOfText(text); id >= 0) kinds_[id] = TokenKind::kControl;
  }

  const std::array<std::string, 256> byte_texts = ByteTexts();
  boost::unordered_flat_map<std::string_view, char> byte_of;
  for (int b = 0; b < 256; ++b) byte_of[byte_texts[b]] = static_cast<char>(b);
  for (TokenId id = 0; id < size(); ++id) {
    byte_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
    const bool spelled =
        kinds_[id] == TokenKind::kNormal || kinds_[id] == TokenKind::kUnused || kinds_[id] == TokenKind::kByte;
    if (spelled) {
      AppendBytes(texts_[id], byte_of, bytes_);
    } else {
      bytes_.append(texts_[id]);
      special_tokens_.push_back(id);
    }
  }
  byte_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
  for (TokenId id = 0; id < size(); ++id) {
    if (kinds_[id] == TokenKind::kNormal) by_bytes_.emplace(bytes(id), id);
  }
  for (int b = 0; b < 256; ++b) {
    const TokenId id = TokenOfText(byte_texts[b]);
    token_of_byte_[b] = id >= 0 && kinds_[id] != TokenKind::kControl && kinds_[id] != TokenKind::kUnknown ? id : -1;
  }
  std::stable_sort(special_tokens_.begin(), special_tokens_.end(),
                   [&](TokenId a, TokenId b) { return texts_[a].size() > texts_[b].size(); });
  return absl::OkStatus();
}

absl::Status BpeVocabulary::ReadMerges(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const auto* merges, file.FindStrings("tokenizer.ggml.merges"));
  if (merges == nullptr) return Invalid(file, "tokenizer.ggml.merges is missing");
  merges_.reserve(merges->size());
  std::string joined;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string_view merge = (*merges)[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return Invalid(file, absl::StrCat("merge ", rank, ", ", Quote(merge), ", is no two tokens with a space between"));
    }
    joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const TokenId left = TokenOfText(merge.substr(0, space));
    const TokenId right = TokenOfText(merge.substr(space + 1));
    const TokenId merged = TokenOfText(joined);
    for (TokenId id : {left, right, merged}) {
      if (id < 0) return Invalid(file, absl::StrCat("merge ", rank, ", ", Quote(merge), ", names what is no token"));
      if (kinds_[id] == TokenKind::kControl || kinds_[id] == TokenKind::kUnknown) {
        return Invalid(file,
                       absl::StrCat("merge ", rank, ", ", Quote(merge), ", takes part in the control token ", id));
      }
    }
    // A pair that is listed twice keeps its first, better rank.
    merges_.emplace(Pair(left, right), Merge{.rank = static_cast<int32_t>(rank), .merged = merged});
  }
  return absl::OkStatus();
}

absl::Status BpeVocabulary::ReadSpecialIds(const GgufFile& file) {
  const auto read = [&](const char* key, TokenId& id) -> absl::Status {
    LINNET_ASSIGN_OR_RETURN(const int64_t value, file.GetIntOr(key, -1));
    const bool absent = value == -1 || value == std::numeric_limits<uint32_t>::max();
    if (!absent && (value < 0 || value >= size())) {
      return Invalid(file, absl::StrCat(key, " is ", value, ", and there are ", size(), " tokens"));
    }
    id = absent ? -1 : static_cast<TokenId>(value);
    return absl::OkStatus();
  };
  TokenId eot = -1, eom = -1;
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.bos_token_id", bos_));
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.eos_token_id", eos_));
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.eot_token_id", eot));
  LINNET_RETURN_IF_ERROR(read("tokenizer.ggml.eom_token_id", eom));
  std::vector<TokenId> ends = {eos_, eot, eom};
  for (std::string_view text : kEndOfTurnTexts) ends.push_back(TokenOfText(text));
  for (TokenId id : ends) {
    if (id >= 0 && std::find(end_of_generation_.begin(), end_of_generation_.end(), id) == end_of_generation_.end()) {
      end_of_generation_.push_back(id);
    }
  }
  return absl::OkStatus();
}

TokenId BpeVocabulary::TokenOfBytes(std::string_view bytes) const {
  const auto it = by_bytes_.find(bytes);
  return it == by_bytes_.end() ? -1 : it->second;
}

TokenId BpeVocabulary::TokenOfText(std::string_view text) const {
  const auto it = by_text_.find(text);
  return it == by_text_.end() ? -1 : it->second;
}

}  // namespace linnet::worker
