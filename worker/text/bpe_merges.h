// The merges of a BPE tokenizer and their application to a word (Sennrich et al., arXiv 1508.07909).
// Internal to worker/text.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <queue>
#include <span>
#include <vector>

#include "worker/text/tokenizer.h"

namespace linnet::worker {

// Thread-safe (const).
class BpeMerges {
 public:
  struct Merge {
    int32_t rank = 0;
    TokenId merged = -1;
  };

  void Reserve(size_t merges) { merges_.reserve(merges); }
  // A pair that is there already keeps its first, better rank.
  void Add(TokenId left, TokenId right, Merge merge) { merges_.emplace(Pair(left, right), merge); }
  // The last of equal pairs counts.
  void Set(TokenId left, TokenId right, Merge merge) { merges_.insert_or_assign(Pair(left, right), merge); }
  const Merge* Find(TokenId left, TokenId right) const {
    const auto it = merges_.find(Pair(left, right));
    return it == merges_.end() ? nullptr : &it->second;
  }

 private:
  static uint64_t Pair(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  boost::unordered_flat_map<uint64_t, Merge> merges_;
};

// Merges the symbols of one word at a time: a linked list and a heap of candidate pairs, so a word of n symbols costs
// n log n. Keeps its memory from word to word. Not thread-safe.
class WordMerger {
 public:
  explicit WordMerger(const BpeMerges& merges) : merges_(merges) {}

  // Symbols that are -1 merge with nothing and are left out.
  void Append(std::span<const TokenId> word, std::vector<TokenId>& out);

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

  void Offer(int left, int right);

  const BpeMerges& merges_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> heap_;
};

}  // namespace linnet::worker
