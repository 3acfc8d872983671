// SentencePiece's BPE (Kudo and Richardson, arXiv 1808.06226): pieces are merged by their scores, the best first, of
// equals the leftmost; what no piece spells becomes bytes. A space is the letter U+2581, and one stands before the
// text. Ids agree with llama.cpp's, broken UTF-8 included.
#include <algorithm>
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cmath>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "worker/text/tokenizers.h"
#include "worker/text/vocabulary_tokenizer.h"

namespace linnet::worker {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";

class Pieces {
 public:
  static absl::StatusOr<std::unique_ptr<Pieces>> FromGguf(const GgufFile& file) {
    auto pieces = std::make_unique<Pieces>();
    LINNET_RETURN_IF_ERROR(pieces->tokens_.Read(file));
    LINNET_RETURN_IF_ERROR(pieces->ReadScores(file));
    pieces->FindBytes();
    return pieces;
  }

  const Vocabulary& tokens() const { return tokens_; }
  float score(TokenId id) const { return scores_[static_cast<size_t>(id)]; }
  // -1: none. Control tokens and bytes are not found: no text turns into them by merging.
  TokenId Find(std::string_view text) const {
    const TokenId id = tokens_.TokenOfText(text);
    return id < 0 || tokens_.IsControl(id) || tokens_.kind(id) == TokenKind::kByte ? -1 : id;
  }
  size_t longest() const { return longest_; }  // text of a token
  TokenId TokenOfByte(uint8_t byte) const { return token_of_byte_[byte]; }
  std::string_view bytes(TokenId id) const { return bytes_[static_cast<size_t>(id)]; }

 private:
  absl::Status ReadScores(const GgufFile& file) {
    LINNET_ASSIGN_OR_RETURN(const auto* scores, file.FindDoubles("tokenizer.ggml.scores"));
    if (scores == nullptr) return VocabularyError(file, "tokenizer.ggml.scores is missing");
    if (scores->size() != static_cast<size_t>(tokens_.size())) {
      return VocabularyError(file, absl::StrCat("tokenizer.ggml.scores has ", scores->size(), " elements for ",
                                                tokens_.size(), " tokens"));
    }
    for (const double score : *scores) {
      if (std::isnan(score)) return VocabularyError(file, "a score is no number");
      scores_.push_back(static_cast<float>(score));
    }
    return absl::OkStatus();
  }
  void FindBytes() {
    token_of_byte_.fill(tokens_.unknown());
    for (TokenId id = 0; id < tokens_.size(); ++id) {
      std::string bytes;
      const std::string& text = tokens_.text(id);
      longest_ = std::max(longest_, text.size());
      if (tokens_.kind(id) == TokenKind::kNormal || tokens_.kind(id) == TokenKind::kUnused) {
        for (size_t at = 0; at < text.size();) {
          const bool space = text.compare(at, kSpace.size(), kSpace) == 0;
          bytes.push_back(space ? ' ' : text[at]);
          at += space ? kSpace.size() : 1;
        }
      } else {
        bytes = text;
      }
      bytes_.push_back(std::move(bytes));
    }
    for (int b = 0; b < 256; ++b) {
      const TokenId id = tokens_.TokenOfText(absl::StrFormat("<0x%02X>", b));
      if (id < 0 || tokens_.kind(id) != TokenKind::kByte) continue;
      token_of_byte_[static_cast<size_t>(b)] = id;
      bytes_[static_cast<size_t>(id)] = std::string(1, static_cast<char>(b));
    }
  }

  Vocabulary tokens_;
  std::vector<float> scores_;
  std::vector<std::string> bytes_;            // what each token stands for
  std::array<TokenId, 256> token_of_byte_{};  // -1: none
  size_t longest_ = 0;
};

// Merges the pieces of one text: a linked list and a heap of candidate pairs, so that n characters cost n log n.
class PieceMerger {
 public:
  explicit PieceMerger(const Pieces& pieces) : pieces_(pieces) {}

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

  void AppendSymbol(std::string_view text, std::vector<TokenId>& out) const {
    if (const TokenId id = pieces_.Find(text); id >= 0) return out.push_back(id);
    for (const char c : text) {  // a byte without a token is left out
      if (const TokenId id = pieces_.TokenOfByte(static_cast<uint8_t>(c)); id >= 0) out.push_back(id);
    }
  }

  const Pieces& pieces_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> heap_;
};

class SentencePieceTokenizer : public VocabularyTokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<Pieces> pieces, bool add_bos, bool add_eos, bool add_space)
      : VocabularyTokenizer(pieces->tokens(), add_bos, add_eos), pieces_(std::move(pieces)), add_space_(add_space) {}

 private:
  void EncodeOrdinary(std::string_view text, bool begins, std::vector<TokenId>& out) const override {
    std::string spelled;
    if (add_space_ && begins) spelled = kSpace;
    for (const char c : text) {
      if (c == ' ') {
        spelled += kSpace;
      } else {
        spelled.push_back(c);
      }
    }
    PieceMerger(*pieces_).Append(spelled, out);
  }
  std::string_view BytesOfToken(TokenId id) const override { return pieces_->bytes(id); }

  const std::unique_ptr<Pieces> pieces_;
  const bool add_space_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizerFromGguf(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<Pieces> pieces, Pieces::FromGguf(file));
  LINNET_ASSIGN_OR_RETURN(const bool add_bos, file.GetBoolOr("tokenizer.ggml.add_bos_token", true));
  LINNET_ASSIGN_OR_RETURN(const bool add_eos, file.GetBoolOr("tokenizer.ggml.add_eos_token", false));
  LINNET_ASSIGN_OR_RETURN(const bool add_space, file.GetBoolOr("tokenizer.ggml.add_space_prefix", true));
  return std::make_unique<SentencePieceTokenizer>(std::move(pieces), add_bos, add_eos, add_space);
}

}  // namespace linnet::worker
