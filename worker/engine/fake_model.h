// A model for tests of the engine: its answer to token t is always t + 1, at once. Token 0 ends a turn; token t is the
// letter 'a' + (t - 1) mod 26. It records what each step computed, and checks that positions follow each other.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "worker/model/model.h"

namespace linnet::worker {

class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(int vocab) : vocab_(vocab) {
    for (int i = 0; i < vocab; ++i)
      letters_.push_back(i == 0 ? "" : std::string(1, static_cast<char>('a' + (i - 1) % 26)));
  }
  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<TokenId> tokens;
    for (char c : text) tokens.push_back(c - 'a' + 1);
    return tokens;
  }
  std::string_view TokenBytes(TokenId id, bool) const override { return letters_[static_cast<size_t>(id)]; }
  int vocab_size() const override { return vocab_; }
  bool IsControl(TokenId id) const override { return id == 0; }
  const std::vector<TokenId>& end_of_generation() const override { return ends_; }
  TokenId bos() const override { return -1; }
  TokenId eos() const override { return 0; }
  const std::vector<std::string>& control_texts() const override { return none_; }

 private:
  const int vocab_;
  std::vector<std::string> letters_;
  const std::vector<TokenId> ends_ = {0};
  const std::vector<std::string> none_;
};

class FakeModel : public Model {
 public:
  struct Options {
    int vocab = 100;
    int64_t context_tokens = 1024;
    int64_t max_step_tokens = 64;
    int64_t window = 0;
    TokenId broken = -1;  // after this token logits are no numbers
  };
  explicit FakeModel(const Options& options) : options_(options), tokenizer_(options.vocab), pool_(1) {
    description_.vocab_size = options.vocab;
    description_.model_dim = 8;
    description_.context_tokens = options.context_tokens;
    description_.layers.resize(1);
    description_.layers[0].attention = {
        .q_heads = 1, .kv_heads = 1, .head_dim = 8, .value_dim = 8, .window = options.window};
  }

  const ModelDescription& description() const override { return description_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const ChatTemplate* chat_template() const override { return nullptr; }
  kernels::Precision precision() const override { return kernels::Precision::kFast; }
  kernels::DType kv_type() const override { return kernels::DType::kF16; }
  uint64_t weight_bytes() const override { return 0; }
  uint64_t weight_bytes_per_token() const override { return 0; }
  std::string numerics_id() const override { return "fake"; }
  kernels::ThreadPool& pool() override { return pool_; }
  int64_t max_step_tokens() const override { return options_.max_step_tokens; }

  // The token after the last one has logit 1, all others 0.
  StepOutput Forward(std::span<const BatchSpan> batch, KvCache& cache) override {
    const size_t vocab = static_cast<size_t>(options_.vocab);
    logits_.clear();
    scored_.clear();
    best_.clear();
    steps.emplace_back();
    for (const BatchSpan& span : batch) {
      steps.back().push_back(static_cast<int>(span.tokens.size()));
      CHECK_GE(span.kv->tokens, span.first_position + static_cast<int64_t>(span.tokens.size()));
      if (span.first_position > 0) CHECK_EQ(computed_[span.kv], span.first_position) << "a gap in a sequence";
      sequence_tokens.insert(span.sequence_tokens);
      computed_[span.kv] = span.first_position + static_cast<int64_t>(span.tokens.size());
      if (span.logits == BatchSpan::Logits::kNone) continue;
      CHECK(span.logits == BatchSpan::Logits::kLast);
      const size_t next = (static_cast<size_t>(span.tokens.back()) + 1) % vocab;
      if (span.tokens.back() == options_.broken) {
        if (span.best > 0) {
          scored_.emplace_back();
        } else {
          logits_.resize(logits_.size() + vocab, std::numeric_limits<float>::quiet_NaN());
        }
        continue;
      }
      if (span.best > 0) {
        auto& scored = scored_.emplace_back(1, kernels::ScoredOutput{.value = 1, .index = static_cast<int32_t>(next)});
        for (int32_t id = 0; scored.size() < static_cast<size_t>(span.best) && id < options_.vocab; ++id) {
          if (id != scored[0].index) scored.push_back({.value = 0, .index = id});
        }
        continue;
      }
      logits_.resize(logits_.size() + vocab, 0.0f);
      logits_[logits_.size() - vocab + next] = 1.0f;
    }
    best_.assign(scored_.begin(), scored_.end());
    if (on_step) on_step();
    return {.logits = logits_, .best = best_};
  }

  std::vector<std::vector<int>> steps;  // tokens of each span of each step
  std::set<int64_t> sequence_tokens;    // as spans had them
  std::function<void()> on_step;

 private:
  const Options options_;
  const FakeTokenizer tokenizer_;
  kernels::ThreadPool pool_;
  ModelDescription description_;
  std::vector<float> logits_;
  std::vector<std::vector<kernels::ScoredOutput>> scored_;
  std::vector<std::span<const kernels::ScoredOutput>> best_;
  std::map<const KvSequence*, int64_t> computed_;
};

}  // namespace linnet::worker
