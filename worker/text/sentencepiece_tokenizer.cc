// SentencePiece's BPE (Kudo and Richardson, arXiv 1808.06226): pieces are merged by their scores, the best first, of
// equals the leftmost; what no piece spells becomes bytes. A space is the letter U+2581, and one stands before the
// text. Ids agree with llama.cpp's, broken UTF-8 included, and where the file has rules of normalization, which
// llama.cpp does not apply, with SentencePiece's.
#include <algorithm>
#include <queue>
#include <utility>

#include "base/status_macros.h"
#include "worker/text/sentencepiece_normalizer.h"
#include "worker/text/sentencepiece_pieces.h"
#include "worker/text/tokenizers.h"
#include "worker/text/vocabulary_tokenizer.h"

namespace linnet::worker {
namespace {

// Merges the pieces of one text: a linked list and a heap of candidate pairs, so that n characters cost n log n.
class PieceMerger {
 public:
  explicit PieceMerger(const SentencePieces& pieces) : pieces_(pieces) {}

  void Append(std::string_view text, std::vector<TokenId>& out) {
    for (size_t at = 0; at < text.size();) {
      const size_t bytes = std::min(CharBytes(text[at]), text.size() - at);
      const int i = static_cast<int>(symbols_.size());
      symbols_.push_back({.text = text.substr(at, bytes), .previous = i - 1, .next = i + 1});
      at += bytes;
    }
    if (symbols_.empty()) return;
    symbols_.back().next = -1;
    for (int i = 0; i + 1 < static_cast<int>(symbols_.size()); ++i) Offer(i, i + 1);
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      Symbol& left = symbols_[static_cast<size_t>(best.left)];
      // A candidate is stale once either symbol has changed. A symbol merged away is empty.
      if (left.text.empty() || left.next < 0) continue;
      Symbol& right = symbols_[static_cast<size_t>(left.next)];
      if (left.next != best.right || left.text.size() + right.text.size() != best.bytes) continue;
      left.text = std::string_view(left.text.data(), best.bytes);
      right.text = {};
      left.next = right.next;
      if (left.next >= 0) symbols_[static_cast<size_t>(left.next)].previous = best.left;
      if (left.previous >= 0) Offer(left.previous, best.left);
      if (left.next >= 0) Offer(best.left, left.next);
    }
    for (int i = 0; i >= 0; i = symbols_[static_cast<size_t>(i)].next) {
      AppendSymbol(symbols_[static_cast<size_t>(i)].text, out);
    }
  }

 private:
  struct Symbol {
    std::string_view text;
    int previous, next;  // -1: none
  };
  struct Candidate {
    float score;
    int left, right;
    size_t bytes;
    // The heap's top is the highest score, leftmost first.
    bool operator<(const Candidate& other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };

  // By the first byte alone, so that what is broken falls apart as llama.cpp has it.
  static size_t CharBytes(char first) {
    const auto byte = static_cast<uint8_t>(first);
    return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
  }

  void Offer(int left, int right) {
    const std::string_view a = symbols_[static_cast<size_t>(left)].text, b = symbols_[static_cast<size_t>(right)].text;
    const size_t bytes = a.size() + b.size();
    if (bytes > pieces_.longest()) return;
    const TokenId id = pieces_.Find(std::string_view(a.data(), bytes));
    if (id >= 0) heap_.push({pieces_.score(id), left, right, bytes});
  }

  void AppendSymbol(std::string_view text, std::vector<TokenId>& out) {
    const bool behind_unknown = behind_unknown_;
    behind_unknown_ = false;
    if (const TokenId id = pieces_.Find(text); id >= 0) return out.push_back(id);
    const auto token = [&](char c) { return pieces_.TokenOfByte(static_cast<uint8_t>(c)); };
    const bool has_bytes = std::all_of(text.begin(), text.end(), [&](char c) { return token(c) >= 0; });
    if (!has_bytes && pieces_.unknown() >= 0) {  // one for all that stand together
      if (!behind_unknown) out.push_back(pieces_.unknown());
      behind_unknown_ = true;
      return;
    }
    for (const char c : text) {  // a byte without a token is left out
      if (token(c) >= 0) out.push_back(token(c));
    }
  }

  const SentencePieces& pieces_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> heap_;
  bool behind_unknown_ = false;
};

class SentencePieceTokenizer : public VocabularyTokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<SentencePieces> pieces, SentencePieceNormalizer normalizer, Options options)
      : VocabularyTokenizer(pieces->tokens(), std::move(options)),
        pieces_(std::move(pieces)),
        normalizer_(std::move(normalizer)) {}

  using VocabularyTokenizer::OptionsFromGguf;

 private:
  void EncodeOrdinary(std::string_view text, bool begins, bool ends, std::vector<TokenId>& out) const override {
    const std::string normalized = normalizer_.Normalize(text, begins, ends);
    PieceMerger(*pieces_).Append(normalized, out);
  }
  std::string_view BytesOfToken(TokenId id) const override { return pieces_->bytes(id); }

  const std::unique_ptr<SentencePieces> pieces_;
  const SentencePieceNormalizer normalizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizerFromGguf(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<SentencePieces> pieces, SentencePieces::FromGguf(file));
  LINNET_ASSIGN_OR_RETURN(auto options, SentencePieceTokenizer::OptionsFromGguf(file, /*add_bos_default=*/true,
                                                                                /*add_eos_default=*/false));
  LINNET_ASSIGN_OR_RETURN(SentencePieceNormalizer normalizer,
                          SentencePieceNormalizer::FromGguf(file, {.keep_broken_utf8 = true}));
  return std::make_unique<SentencePieceTokenizer>(std::move(pieces), std::move(normalizer), std::move(options));
}

}  // namespace linnet::worker
