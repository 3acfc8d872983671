#include "tools/linnet/bench.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/isa.h"
#include "kernels/rows.h"
#include "tools/linnet/local_model.h"
#include "worker/model/kv_cache.h"

namespace linnet::cli {
namespace {

struct Options {
  LocalModelOptions local;
  int prompt_tokens = 512;
  int gen_tokens = 128;
  int depth = 0;
  int batch = 1;
  int repetitions = 5;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// Runs prompts and streams of decoded tokens on the model itself: no queue, no text.
class Runner {
 public:
  Runner(worker::Model& model, worker::KvCache& cache, int streams) : model_(model), cache_(cache) {
    sequences_.resize(static_cast<size_t>(streams));
  }

  // Seconds for `tokens` of one prompt, logits of the last one included.
  double Prefill(int tokens) {
    worker::KvSequence sequence;
    cache_.Reserve(sequence, tokens);
    const int64_t start = base::Clock::Real()->MonotonicNs();
    Feed(sequence, Tokens(tokens), worker::BatchSpan::Logits::kLast);
    const double seconds = absl::ToDoubleSeconds(base::Clock::Real()->Since(start));
    cache_.Release(sequence);
    return seconds;
  }

  // Seconds for `tokens` of each stream, one after another, greedily, after `depth` tokens of context.
  double Decode(int depth, int tokens) {
    const size_t vocab = static_cast<size_t>(model_.description().vocab_size);
    std::vector<worker::TokenId> next(sequences_.size());
    std::vector<worker::BatchSpan> batch(sequences_.size());
    for (size_t s = 0; s < sequences_.size(); ++s) {
      cache_.Reserve(sequences_[s], depth + tokens);
      if (depth > 0) Feed(sequences_[s], Tokens(depth), worker::BatchSpan::Logits::kNone);
      next[s] = Token(static_cast<int>(s));
    }
    const int64_t start = base::Clock::Real()->MonotonicNs();
    for (int t = 0; t < tokens; ++t) {
      for (size_t s = 0; s < sequences_.size(); ++s) {
        batch[s] = {.tokens = std::span(next).subspan(s, 1), .first_position = depth + t, .kv = &sequences_[s]};
      }
      const std::span<const float> logits = model_.Forward(batch, cache_);
      for (size_t s = 0; s < sequences_.size(); ++s) {
        next[s] = static_cast<worker::TokenId>(kernels::ArgMax(&logits[s * vocab], static_cast<int64_t>(vocab)));
      }
    }
    const double seconds = absl::ToDoubleSeconds(base::Clock::Real()->Since(start));
    for (worker::KvSequence& sequence : sequences_) cache_.Release(sequence);
    return seconds;
  }

 private:
  // Spread over the vocabulary, the same every time.
  worker::TokenId Token(int i) const {
    return static_cast<worker::TokenId>((int64_t{i} * 7919 + 13) % model_.description().vocab_size);
  }
  std::vector<worker::TokenId> Tokens(int n) const {
    std::vector<worker::TokenId> tokens;
    for (int i = 0; i < n; ++i) tokens.push_back(Token(i));
    return tokens;
  }
  void Feed(const worker::KvSequence& sequence, const std::vector<worker::TokenId>& tokens,
            worker::BatchSpan::Logits logits) {
    const size_t step = static_cast<size_t>(model_.max_step_tokens());
    for (size_t begin = 0; begin < tokens.size(); begin += step) {
      const size_t count = std::min(step, tokens.size() - begin);
      const worker::BatchSpan span = {
          .tokens = std::span(tokens).subspan(begin, count),
          .first_position = static_cast<int64_t>(begin),
          .kv = &sequence,
          .logits = begin + count == tokens.size() ? logits : worker::BatchSpan::Logits::kNone};
      model_.Forward({&span, 1}, cache_);
    }
  }

  worker::Model& model_;
  worker::KvCache& cache_;
  std::vector<worker::KvSequence> sequences_;
};

absl::Status Bench(const Options& options, const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(const LocalModel local, LoadLocalModel(options.local, context));
  worker::Model& model = *local.model;
  const int64_t longest = std::max<int64_t>(options.prompt_tokens, int64_t{options.depth} + options.gen_tokens);
  if (longest > model.description().context_tokens) {
    return UsageError(
        base::StrCat(longest, " tokens exceed the model's context of ", model.description().context_tokens));
  }
  if (options.batch > model.max_step_tokens()) {
    return UsageError(base::StrCat("--batch is at most ", model.max_step_tokens()));
  }
  const int64_t blocks =
      std::max(worker::KvCache::BlocksFor(options.prompt_tokens),
               options.batch * worker::KvCache::BlocksFor(int64_t{options.depth} + options.gen_tokens));
  LINNET_ASSIGN_OR_RETURN(const auto cache, worker::KvCache::Create(model.description(), model.kv_type(), blocks));

  Runner runner(model, *cache, options.batch);
  runner.Prefill(options.prompt_tokens);
  runner.Decode(options.depth, std::min(options.gen_tokens, 8));
  std::vector<double> prefill, decode;
  for (int i = 0; i < options.repetitions; ++i) {
    prefill.push_back(options.prompt_tokens / runner.Prefill(options.prompt_tokens));
    decode.push_back(options.gen_tokens / runner.Decode(options.depth, options.gen_tokens));
  }
  const double steps_per_s = Median(decode);
  const double prefill_rate = Median(prefill), decode_rate = steps_per_s * options.batch;
  // The weights, and half of the final context's keys and values, which is what a decoded token reads on average.
  const uint64_t kv_bytes =
      static_cast<uint64_t>(worker::KvCache::BytesPerToken(model.description(), model.kv_type())) *
      static_cast<uint64_t>(options.depth + options.gen_tokens / 2);
  const uint64_t step_bytes = model.weight_bytes_per_token() + kv_bytes * static_cast<uint64_t>(options.batch);
  const double gb_per_s = static_cast<double>(step_bytes) * steps_per_s / 1e9;
  LINNET_ASSIGN_OR_RETURN(const kernels::Isa isa, kernels::ActiveIsa());
  const uint64_t peak = base::ReadProcessMemory().peak_resident_bytes;
  return context.Print(
      {{"prefill_tokens_per_s", prefill_rate},
       {"decode_tokens_per_s", decode_rate},
       {"load_ms", local.load_ms},
       {"peak_rss_bytes", peak},
       {"isa", kernels::IsaName(isa)},
       {"threads", model.pool().threads()},
       {"prompt_tokens", options.prompt_tokens},
       {"gen_tokens", options.gen_tokens},
       {"depth", options.depth},
       {"batch", options.batch},
       {"repetitions", options.repetitions},
       {"weight_bytes", model.weight_bytes()},
       {"kv_bytes_per_token", worker::KvCache::BytesPerToken(model.description(), model.kv_type())},
       {"decode_bytes_per_step", step_bytes},
       {"decode_read_gb_per_s", gb_per_s},
       {"numerics_id", model.numerics_id()}},
      absl::StrFormat("prefill  %8.1f tokens/s  (%d tokens)\n"
                      "decode   %8.1f tokens/s  (%d tokens, %d streams, %.1f MB and %.1f GB/s read per step)\n"
                      "load     %8.0f ms\npeak     %8.1f MB resident\nisa      %s, %d threads\n",
                      prefill_rate, options.prompt_tokens, decode_rate, options.gen_tokens, options.batch,
                      static_cast<double>(step_bytes) / 1e6, gb_per_s, local.load_ms, static_cast<double>(peak) / 1e6,
                      std::string(kernels::IsaName(isa)), model.pool().threads()));
}

}  // namespace

void AddBenchCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command = context.Add(app, "bench", "Measure a model's speed on this machine",
                                  {"linnet bench --model model.gguf --prompt-tokens 512 --gen-tokens 128 -o json"});
  const auto options = std::make_shared<Options>();
  AddLocalModelOptions(command, options->local);
  command->add_option("--prompt-tokens", options->prompt_tokens, "Prompt to prefill")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--gen-tokens", options->gen_tokens, "Tokens to decode in each stream")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--depth", options->depth, "Tokens of context before decoding")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--batch", options->batch, "Streams that decode together")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--repetitions", options->repetitions, "Medians of so many runs, after one to warm up")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  context.OnRun(command, [&context, options] { return Bench(*options, context); });
}

}  // namespace linnet::cli
