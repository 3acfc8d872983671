// The byte-level BPE tokenizer: special tokens first, then words, then merges by rank.
#include <algorithm>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "worker/text/bpe_vocabulary.h"
#include "worker/text/pre_tokenizer.h"
#include "worker/text/tokenizer.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

// Merges the symbols of one word at a time: a linked list and a heap of candidate pairs, so a word of n bytes costs
// n log n. Keeps its memory from word to word.
class WordMerger {
 public:
  explicit WordMerger(const BpeVocabulary& vocabulary) : vocabulary_(vocabulary) {}

  void Append(std::string_view word, std::vector<TokenId>& out) {
    symbols_.clear();
    const int n = static_cast<int>(word.size());
    for (int i = 0; i < n; ++i) {
      symbols_.push_back({.id = vocabulary_.TokenOfByte(static_cast<uint8_t>(word[i])),
                          .previous = i - 1,
                          .next = i + 1 < n ? i + 1 : -1});
    }
    for (int i = 0; i + 1 < n; ++i) Offer(i, i + 1);
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      Symbol& left = symbols_[best.left];
      // A candidate is stale once either symbol has changed. A symbol merged away has id -1.
      if (left.id != best.left_id || left.next < 0 || symbols_[left.next].id != best.right_id) continue;
      Symbol& right = symbols_[left.next];
      left.id = best.merged;
      left.next = right.next;
      right.id = -1;
      if (left.next >= 0) symbols_[left.next].previous = best.left;
      if (left.previous >= 0) Offer(left.previous, best.left);
      if (left.next >= 0) Offer(best.left, left.next);
    }
    for (int i = n == 0 ? -1 : 0; i >= 0; i = symbols_[i].next) {
      if (symbols_[i].id >= 0) out.push_back(symbols_[i].id);  // a byte without a token is left out
    }
  }

 private:
  struct Symbol {
    TokenId id;
    int previous, next;  // -1: none
  };
  struct Candidate {
    int32_t rank;
    int left;
    TokenId left_id, right_id, merged;
    // The heap's top is the lowest rank, leftmost first.
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };

  void Offer(int left, int right) {
    const TokenId left_id = symbols_[left].id, right_id = symbols_[right].id;
    if (left_id < 0 || right_id < 0) return;
    if (const BpeVocabulary::Merge* merge = vocabulary_.FindMerge(left_id, right_id)) {
      heap_.push({merge->rank, left, left_id, right_id, merge->merged});
    }
  }

  const BpeVocabulary& vocabulary_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> heap_;
};

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(std::unique_ptr<BpeVocabulary> vocabulary, std::unique_ptr<PreTokenizer> pre_tokenizer, bool add_bos,
               bool add_eos)
      : vocabulary_(std::move(vocabulary)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        add_bos_(add_bos),
        add_eos_(add_eos) {
    for (TokenId id = 0; id < vocabulary_->size(); ++id) {
      if (IsControl(id)) control_texts_.push_back(vocabulary_->text(id));
    }
  }

  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<TokenId> out;
    if (options.add_special && add_bos_ && bos() >= 0) out.push_back(bos());
    WordMerger merger(*vocabulary_);
    std::string kept;
    for (const Fragment& fragment : Partition(text, options)) {
      if (fragment.token >= 0) {
        out.push_back(fragment.token);
      } else if (options.breaker.empty()) {
        EncodeOrdinary(fragment.text, merger, out);
      } else {
        Without(fragment.text, options.breaker, kept);
        EncodeOrdinary(kept, merger, out);
      }
    }
    if (options.add_special && add_eos_ && eos() >= 0) out.push_back(eos());
    return out;
  }

  std::string_view TokenBytes(TokenId id, bool special) const override {
    if (!vocabulary_->contains(id) || (IsControl(id) && !special)) return {};
    return vocabulary_->bytes(id);
  }
  int vocab_size() const override { return vocabulary_->size(); }
  bool IsControl(TokenId id) const override {
    return vocabulary_->contains(id) &&
           (vocabulary_->kind(id) == TokenKind::kControl || vocabulary_->kind(id) == TokenKind::kUnknown);
  }
  const std::vector<TokenId>& end_of_generation() const override { return vocabulary_->end_of_generation(); }
  TokenId bos() const override { return vocabulary_->bos(); }
  TokenId eos() const override { return vocabulary_->eos(); }
  const std::vector<std::string>& control_texts() const override { return control_texts_; }

 private:
  struct Fragment {
    std::string_view text;
    TokenId token = -1;  // -1: ordinary text
  };

  // Cuts special tokens out of the text, the longest first wherever they stand, as llama.cpp does.
  std::vector<Fragment> Partition(std::string_view text, const EncodeOptions& options) const {
    std::vector<Fragment> fragments;
    if (text.empty()) return fragments;
    fragments.push_back({text});
    // Most special tokens are not in most texts: their first two bytes tell so in one pass over the text.
    std::vector<bool> pairs(1 << 16);
    for (size_t i = 0; i + 1 < text.size(); ++i) pairs[PairAt(text, i)] = true;
    std::vector<Fragment> next;
    for (TokenId id : vocabulary_->special_tokens()) {
      const std::string& special = vocabulary_->text(id);
      if (IsControl(id)) {
        if (!options.parse_special) continue;
        // A single character cannot be broken up: where that matters, it is never a control token.
        if (!options.breaker.empty() && Utf8CharBytes(special, 0) == special.size()) continue;
      }
      if (special.size() > 1 && !pairs[PairAt(special, 0)]) continue;
      if (text.find(special) == std::string_view::npos) continue;
      next.clear();
      for (const Fragment& fragment : fragments) {
        if (fragment.token >= 0) {
          next.push_back(fragment);
          continue;
        }
        size_t done = 0;
        for (size_t at; (at = fragment.text.find(special, done)) != std::string_view::npos;
             done = at + special.size()) {
          if (at > done) next.push_back({fragment.text.substr(done, at - done)});
          next.push_back({{}, id});
        }
        if (done < fragment.text.size()) next.push_back({fragment.text.substr(done)});
      }
      std::swap(fragments, next);
    }
    return fragments;
  }

  static size_t PairAt(std::string_view text, size_t at) {
    return static_cast<size_t>(static_cast<uint8_t>(text[at])) << 8 | static_cast<uint8_t>(text[at + 1]);
  }

  static void Without(std::string_view text, std::string_view breaker, std::string& out) {
    out.clear();
    size_t done = 0;
    for (size_t at; (at = text.find(breaker, done)) != std::string_view::npos; done = at + breaker.size()) {
      out.append(text.substr(done, at - done));
    }
    out.append(text.substr(done));
  }

  void EncodeOrdinary(std::string_view text, WordMerger& merger, std::vector<TokenId>& out) const {
    const std::string well_formed = TokenizerUtf8(text);
    for (std::string_view word : pre_tokenizer_->Split(well_formed)) {
      if (pre_tokenizer_->ignore_merges()) {
        if (const TokenId id = vocabulary_->TokenOfBytes(word); id >= 0) {
          out.push_back(id);
          continue;
        }
      }
      merger.Append(word, out);
    }
  }

  const std::unique_ptr<BpeVocabulary> vocabulary_;
  const std::unique_ptr<PreTokenizer> pre_tokenizer_;
  const bool add_bos_, add_eos_;
  std::vector<std::string> control_texts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                       absl::StrCat(file.path(), ": tokenizer.ggml.model \"", std::string(model),
                                    "\" is not supported; supported is gpt2 (byte-level BPE)"),
                       {{"file", file.path()}});
  }
  LINNET_ASSIGN_OR_RETURN(const std::string_view pre, file.GetStringOr("tokenizer.ggml.pre", "default"));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> pre_tokenizer, PreTokenizer::Create(pre));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<BpeVocabulary> vocabulary, BpeVocabulary::FromGguf(file));
  LINNET_ASSIGN_OR_RETURN(const bool add_bos,
                          file.GetBoolOr("tokenizer.ggml.add_bos_token", pre_tokenizer->add_bos_default()));
  LINNET_ASSIGN_OR_RETURN(const bool add_eos, file.GetBoolOr("tokenizer.ggml.add_eos_token", false));
  return std::make_unique<BpeTokenizer>(std::move(vocabulary), std::move(pre_tokenizer), add_bos, add_eos);
}

}  // namespace linnet::worker
