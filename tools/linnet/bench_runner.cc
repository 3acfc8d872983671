#include "tools/linnet/bench_runner.h"

#include <algorithm>
#include <span>

#include "absl/log/check.h"
#include "base/clock.h"

namespace linnet::cli {

int64_t BenchRunner::Blocks(int streams, int64_t tokens_each) {
  return streams * worker::KvCache::BlocksFor(tokens_each);
}

double BenchRunner::Prefill(int64_t tokens) {
  worker::KvSequence sequence;
  CHECK(cache_.Reserve(sequence, tokens)) << "the cache was made too small";
  const int64_t start = base::Clock::Real()->MonotonicNs();
  Feed(sequence, 0, tokens, worker::BatchSpan::Logits::kLast);
  const double seconds = absl::ToDoubleSeconds(base::Clock::Real()->Since(start));
  cache_.Release(sequence);
  return seconds;
}

void BenchRunner::Fill(int streams, int64_t depth, int64_t tokens) {
  if (static_cast<size_t>(streams) != streams_.size() || depth < depth_) Clear();
  streams_.resize(static_cast<size_t>(streams));
  for (worker::KvSequence& stream : streams_) {
    CHECK(cache_.Reserve(stream, depth + tokens)) << "the cache was made too small";
    if (depth > depth_) Feed(stream, depth_, depth, worker::BatchSpan::Logits::kNone);
  }
  depth_ = depth;
}

double BenchRunner::Decode(int64_t tokens) {
  if (depth_ > 0 && recurrent_) {
    // A recurrent state knows no way back.
    const auto streams = static_cast<int>(streams_.size());
    const int64_t depth = depth_;
    Clear();
    Fill(streams, depth, tokens);
  }
  std::vector<worker::TokenId> next(streams_.size());
  std::vector<worker::BatchSpan> batch(streams_.size());
  for (size_t s = 0; s < streams_.size(); ++s) next[s] = Token(static_cast<int64_t>(s));
  const int64_t start = base::Clock::Real()->MonotonicNs();
  for (int64_t t = 0; t < tokens; ++t) {
    for (size_t s = 0; s < streams_.size(); ++s) {
      batch[s] = {.tokens = std::span(next).subspan(s, 1), .first_position = depth_ + t, .kv = &streams_[s], .best = 1};
    }
    const worker::StepOutput output = model_.Forward(batch, cache_);
    for (size_t s = 0; s < streams_.size(); ++s) next[s] = output.best[s][0].index;
  }
  return absl::ToDoubleSeconds(base::Clock::Real()->Since(start));
}

void BenchRunner::Clear() {
  for (worker::KvSequence& stream : streams_) cache_.Release(stream);
  streams_.clear();
  depth_ = 0;
}

void BenchRunner::Feed(const worker::KvSequence& sequence, int64_t begin, int64_t end,
                       worker::BatchSpan::Logits logits) {
  std::vector<worker::TokenId> tokens;
  for (int64_t i = begin; i < end; ++i) tokens.push_back(Token(i));
  const int64_t step = model_.max_step_tokens();
  for (int64_t at = begin; at < end; at += step) {
    const int64_t count = std::min(step, end - at);
    const worker::BatchSpan span = {
        .tokens = std::span(tokens).subspan(static_cast<size_t>(at - begin), static_cast<size_t>(count)),
        .first_position = at,
        .kv = &sequence,
        .logits = at + count == end ? logits : worker::BatchSpan::Logits::kNone};
    model_.Forward({&span, 1}, cache_);
  }
}

}  // namespace linnet::cli
