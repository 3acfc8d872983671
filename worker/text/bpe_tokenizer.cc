// The byte-level BPE tokenizer: words first, then merges by rank.
#include <queue>
#include <utility>

#include "base/status_macros.h"
#include "worker/text/bpe_vocabulary.h"
#include "worker/text/pre_tokenizer.h"
#include "worker/text/tokenizers.h"
#include "worker/text/utf8.h"
#include "worker/text/vocabulary_tokenizer.h"

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

class BpeTokenizer : public VocabularyTokenizer {
 public:
  BpeTokenizer(std::unique_ptr<BpeVocabulary> vocabulary, std::unique_ptr<PreTokenizer> pre_tokenizer, bool add_bos,
               bool add_eos)
      : VocabularyTokenizer(vocabulary->tokens(), add_bos, add_eos),
        vocabulary_(std::move(vocabulary)),
        pre_tokenizer_(std::move(pre_tokenizer)) {}

 private:
  void EncodeOrdinary(std::string_view text, bool, std::vector<TokenId>& out) const override {
    WordMerger merger(*vocabulary_);
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
  std::string_view BytesOfToken(TokenId id) const override { return vocabulary_->bytes(id); }

  const std::unique_ptr<BpeVocabulary> vocabulary_;
  const std::unique_ptr<PreTokenizer> pre_tokenizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizerFromGguf(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const std::string_view pre, file.GetStringOr("tokenizer.ggml.pre", "default"));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> pre_tokenizer, PreTokenizer::Create(pre));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<BpeVocabulary> vocabulary, BpeVocabulary::FromGguf(file));
  LINNET_ASSIGN_OR_RETURN(const bool add_bos,
                          file.GetBoolOr("tokenizer.ggml.add_bos_token", pre_tokenizer->add_bos_default()));
  LINNET_ASSIGN_OR_RETURN(const bool add_eos, file.GetBoolOr("tokenizer.ggml.add_eos_token", false));
  return std::make_unique<BpeTokenizer>(std::move(vocabulary), std::move(pre_tokenizer), add_bos, add_eos);
}

}  // namespace linnet::worker
