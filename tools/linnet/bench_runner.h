// Runs prompts and streams of decoded tokens on a model itself: no queue, no text. Tokens are spread over the
// vocabulary, the same every time; decoding is greedy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "worker/model/model.h"

namespace linnet::cli {

// One thread. Borrows model and cache, which must outlive it.
class BenchRunner {
 public:
  BenchRunner(worker::Model& model, worker::KvCache& cache)
      : model_(model),
        cache_(cache),
        recurrent_(std::any_of(model.description().layers.begin(), model.description().layers.end(),
                               [](const worker::LayerDescription& l) { return l.recurrent.width > 0; })) {}
  ~BenchRunner() { Clear(); }
  BenchRunner(const BenchRunner&) = delete;
  BenchRunner& operator=(const BenchRunner&) = delete;

  // Blocks of a cache that holds so many streams of so many tokens.
  static int64_t Blocks(int streams, int64_t tokens_each);

  // Seconds for a prompt of `tokens`, logits of the last one included. REQUIRES: room in the cache beside the streams.
  double Prefill(int64_t tokens);
  // Gives each of `streams` streams a context of `depth` tokens and room for `tokens` more; what they hold already is
  // kept where that is a beginning of it.
  void Fill(int streams, int64_t depth, int64_t tokens);
  // Seconds for `tokens` of each stream after the context that Fill gave them, which they have again afterwards.
  double Decode(int64_t tokens);
  void Clear();

 private:
  worker::TokenId Token(int64_t i) const {
    return static_cast<worker::TokenId>((i * 7919 + 13) % model_.description().vocab_size);
  }
  // Positions [begin, end) of a sequence.
  void Feed(const worker::KvSequence& sequence, int64_t begin, int64_t end, worker::BatchSpan::Logits logits);

  worker::Model& model_;
  worker::KvCache& cache_;
  const bool recurrent_;
  std::vector<worker::KvSequence> streams_;
  int64_t depth_ = 0;  // tokens that each of them holds
};

}  // namespace linnet::cli
