// The unigram language model over pieces (Kudo, arXiv 1804.10959): of all ways to cut a text into pieces, the one with
// the highest sum of scores, found by dynamic programming (Viterbi). Internal to worker/text.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "worker/text/piece_trie.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

// Thread-safe (const).
class Unigram {
 public:
  // Pieces are looked up byte by byte from each character of a text on: what is longer would make that slow.
  static constexpr size_t kMaxPieceBytes = 1024;

  struct Options {
    // For a character that no piece spells; those next to one another become one token.
    TokenId unknown = -1;  // -1: left out
    double unknown_score = 0;
    // Where all bytes of the unknown have tokens, they stand for it. -1: none.
    std::array<TokenId, 256> token_of_byte = NoBytes();
    // Sums in f32, as SentencePiece has it; otherwise in f64, as Hugging Face's and llama.cpp's have it. Near-ties
    // depend on it.
    bool single_precision = false;

    static std::array<TokenId, 256> NoBytes() {
      std::array<TokenId, 256> none;
      none.fill(-1);
      return none;
    }
  };

  // `pieces`: the texts that may become each token. `scores`: by token. REQUIRES: as PieceTrie; scores are numbers.
  Unigram(std::vector<std::pair<std::string_view, TokenId>> pieces, std::vector<double> scores, const Options& options);

  // REQUIRES: text is well-formed UTF-8.
  void Encode(std::string_view text, std::vector<TokenId>& out) const;

 private:
  template <typename Score>
  void EncodeAs(std::string_view text, std::vector<TokenId>& out) const;
  void AppendUnknown(std::string_view text, std::vector<TokenId>& out) const;

  const PieceTrie trie_;
  const std::vector<double> scores_;
  const Options options_;
};

}  // namespace linnet::worker
