// What the accuracy tests share: golden files, and a sequence that a decoder computes step by step.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "worker/model/batch.h"
#include "worker/model/kv_cache.h"
#include "worker/text/tokenizer.h"

namespace linnet::accuracy {

// Of tests/golden; fails the test program where it cannot be read.
std::string GoldenPath(const std::string& name);
nlohmann::json ReadGoldenJson(const std::string& name);
std::vector<float> ReadGoldenFloats(const std::string& name);

// The SmolLM2 file: $LINNET_TEST_MODEL, else the cache's.
std::string SmolLm2Path();

// Log-probabilities of one row of logits.
std::vector<double> LogSoftmax(std::span<const float> logits);
int64_t ArgMax(std::span<const float> logits);

// Feeds `tokens` in chunks of the given sizes (the last one repeats), and calls row(position, logits) for each token.
template <class DecoderOrModel, class F>
void ForEachLogits(DecoderOrModel& decoder, worker::KvCache& cache, std::span<const worker::TokenId> tokens,
                   size_t vocab, const std::vector<size_t>& chunks, F row) {
  worker::KvSequence sequence;
  cache.Reserve(sequence, static_cast<int64_t>(tokens.size()));
  size_t begin = 0;
  for (size_t i = 0; begin < tokens.size(); ++i) {
    const size_t count = std::min(chunks[std::min(i, chunks.size() - 1)], tokens.size() - begin);
    const worker::BatchSpan span = {.tokens = tokens.subspan(begin, count),
                                    .first_position = static_cast<int64_t>(begin),
                                    .kv = &sequence,
                                    .logits = worker::BatchSpan::Logits::kAll,
                                    .sequence_tokens = static_cast<int64_t>(tokens.size())};
    const std::span<const float> logits = decoder.Forward({&span, 1}, cache).logits;
    for (size_t t = 0; t < count; ++t) row(begin + t, logits.subspan(t * vocab, vocab));
    begin += count;
  }
  cache.Release(sequence);
}

}  // namespace linnet::accuracy
