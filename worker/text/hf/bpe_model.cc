// BPE as Hugging Face's library has it: over characters (byte-level ones are letters that stand for bytes by then),
// with SentencePiece's fallback to bytes.
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <utility>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/bpe_merges.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/model.h"
#include "worker/text/hf/unicode.h"

namespace linnet::worker::hf {
namespace {

struct BpeOptions {
  std::string continuing_prefix;  // of what does not begin a word
  std::string word_suffix;        // of what ends one
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word that is a token is not merged up to it
};

class BpeModel : public Model {
 public:
  BpeModel(const Vocabulary& vocabulary, BpeMerges merges, BpeOptions options, TokenId unknown)
      : vocabulary_(vocabulary),
        merges_(std::move(merges)),
        options_(std::move(options)),
        unknown_(unknown),
        token_of_byte_(vocabulary.BytePieces()) {}

  void Encode(std::string_view word, std::vector<TokenId>& out) const override {
    if (options_.ignore_merges) {
      if (const TokenId id = Find(word); id >= 0) return out.push_back(id);
    }
    std::vector<TokenId> symbols;
    bool unknown_waits = false;  // it comes before the next known symbol
    const auto flush = [&] {
      if (unknown_waits) symbols.push_back(unknown_);
      unknown_waits = false;
    };
    std::string spelled;
    for (size_t at = 0; at < word.size();) {
      const size_t begin = at;
      NextCharacter(word, at);
      spelled.assign(begin == 0 ? "" : options_.continuing_prefix).append(word.substr(begin, at - begin));
      if (at == word.size()) spelled += options_.word_suffix;
      if (const TokenId id = Find(spelled); id >= 0) {
        flush();
        symbols.push_back(id);
      } else if (options_.byte_fallback && HasBytes(spelled)) {
        for (const char c : spelled) symbols.push_back(token_of_byte_[static_cast<uint8_t>(c)]);
      } else if (unknown_ >= 0) {
        if (!options_.fuse_unknown) flush();
        unknown_waits = true;
      }
    }
    flush();
    WordMerger(merges_).Append(symbols, out);
  }

 private:
  TokenId Find(std::string_view text) const {
    const TokenId id = vocabulary_.TokenOfText(text);
    return id >= 0 && vocabulary_.IsControl(id) ? -1 : id;
  }
  bool HasBytes(std::string_view text) const {
    for (const char c : text) {
      if (token_of_byte_[static_cast<uint8_t>(c)] < 0) return false;
    }
    return true;
  }

  const Vocabulary& vocabulary_;
  const BpeMerges merges_;
  const BpeOptions options_;
  const TokenId unknown_;
  const std::array<TokenId, 256> token_of_byte_;
};

class BpeSource : public ModelSource {
 public:
  absl::Status Read(const nlohmann::json& json) {
    LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, "model"));
    fields.Ignore("type");
    const nlohmann::json* dropout = fields.Find("dropout");
    if (dropout != nullptr && (!dropout->is_number() || dropout->get<double>() != 0)) {
      return fields.Error("dropout is not supported");
    }
    LINNET_ASSIGN_OR_RETURN(options_.continuing_prefix, fields.String("continuing_subword_prefix", ""));
    LINNET_ASSIGN_OR_RETURN(options_.word_suffix, fields.String("end_of_word_suffix", ""));
    LINNET_ASSIGN_OR_RETURN(options_.fuse_unknown, fields.Bool("fuse_unk", false));
    LINNET_ASSIGN_OR_RETURN(options_.byte_fallback, fields.Bool("byte_fallback", false));
    LINNET_ASSIGN_OR_RETURN(options_.ignore_merges, fields.Bool("ignore_merges", false));
    byte_fallback_ = options_.byte_fallback;
    LINNET_RETURN_IF_ERROR(ReadVocabulary(fields));
    LINNET_ASSIGN_OR_RETURN(const std::string unknown, fields.String("unk_token", ""));
    if (!unknown.empty()) {
      const auto it = by_text_.find(unknown);
      if (it == by_text_.end()) return fields.Error(base::StrCat("unk_token ", QuoteToken(unknown), " is no token"));
      unknown_ = it->second;
    }
    LINNET_ASSIGN_OR_RETURN(const nlohmann::json* merges, fields.Array("merges"));
    LINNET_RETURN_IF_ERROR(ReadMerges(*merges));
    return fields.Finish();
  }

  absl::StatusOr<std::unique_ptr<Model>> Make(const Vocabulary& vocabulary) const override {
    BpeMerges merges;
    merges.Reserve(merges_.size());
    for (size_t rank = 0; rank < merges_.size(); ++rank) {
      const Merge& merge = merges_[rank];
      // No text turns into a control token by merging, nor into what one would take part in.
      if (vocabulary.IsControl(merge.left) || vocabulary.IsControl(merge.right) || vocabulary.IsControl(merge.merged)) {
        continue;
      }
      merges.Set(merge.left, merge.right, {.rank = static_cast<int32_t>(rank), .merged = merge.merged});
    }
    return std::make_unique<BpeModel>(vocabulary, std::move(merges), options_, unknown_);
  }

 private:
  struct Merge {
    TokenId left, right, merged;
  };

  absl::Status ReadVocabulary(Fields& fields) {
    const nlohmann::json* vocabulary = fields.Find("vocab");
    if (vocabulary == nullptr || !vocabulary->is_object()) return fields.Error("vocab should be an object");
    if (vocabulary->size() > Vocabulary::kMaxTokens) {
      return fields.Error(base::StrCat(vocabulary->size(), " tokens are too many"));
    }
    tokens_.reserve(vocabulary->size());
    for (const auto& [text, id] : vocabulary->items()) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= Vocabulary::kMaxTokens) {
        return fields.Error(base::StrCat("vocab: the id of ", QuoteToken(text), " is ", id.dump().substr(0, 20)));
      }
      tokens_.emplace_back(text, static_cast<TokenId>(id.get<uint64_t>()));
    }
    by_text_.reserve(tokens_.size());
    for (const auto& [text, id] : tokens_) by_text_.emplace(text, id);
    return absl::OkStatus();
  }

  // "left right", or ["left", "right"].
  absl::Status ReadMerges(const nlohmann::json& merges) {
    merges_.reserve(merges.size());
    std::string joined;
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const nlohmann::json& merge = merges[rank];
      std::string_view left, right;
      if (merge.is_string()) {
        const std::string_view text = merge.get_ref<const std::string&>();
        const size_t space = text.find(' ');
        if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
          left = text.substr(0, space);
          right = text.substr(space + 1);
        }
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get_ref<const std::string&>();
        right = merge[1].get_ref<const std::string&>();
      }
      const std::string_view prefix = options_.continuing_prefix;
      if (left.empty() || right.size() <= prefix.size()) {
        return MergeError(rank, "is no pair of tokens");
      }
      joined.assign(left).append(right.substr(prefix.size()));
      const auto left_it = by_text_.find(left), right_it = by_text_.find(right), merged_it = by_text_.find(joined);
      for (const auto& [text, it] :
           {std::pair(left, left_it), std::pair(right, right_it), std::pair(std::string_view(joined), merged_it)}) {
        if (it == by_text_.end())
          return MergeError(rank, base::StrCat("needs ", QuoteToken(text), ", which is no token"));
      }
      merges_.push_back({left_it->second, right_it->second, merged_it->second});
    }
    return absl::OkStatus();
  }
  static absl::Status MergeError(size_t rank, std::string_view what) {
    return absl::InvalidArgumentError(base::StrCat("model.merges[", rank, "] ", what));
  }

  BpeOptions options_;
  std::vector<Merge> merges_;
  boost::unordered_flat_map<std::string_view, TokenId> by_text_;  // views of tokens_
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> ReadBpe(const nlohmann::json& json) {
  auto source = std::make_unique<BpeSource>();
  LINNET_RETURN_IF_ERROR(source->Read(json));
  return source;
}

}  // namespace linnet::worker::hf
