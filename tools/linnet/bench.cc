#include "tools/linnet/bench.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/isa.h"
#include "tools/linnet/bench_runner.h"
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
  const int64_t blocks = std::max(BenchRunner::Blocks(1, options.prompt_tokens),
                                  BenchRunner::Blocks(options.batch, int64_t{options.depth} + options.gen_tokens));
  LINNET_ASSIGN_OR_RETURN(const auto cache, worker::KvCache::Create(model.description(), model.kv_type(), blocks));

  BenchRunner runner(model, *cache);
  runner.Prefill(options.prompt_tokens);
  std::vector<double> prefill, decode;
  for (int i = 0; i < options.repetitions; ++i) {
    runner.Clear();
    prefill.push_back(options.prompt_tokens / runner.Prefill(options.prompt_tokens));
    runner.Fill(options.batch, options.depth, options.gen_tokens);
    if (i == 0) runner.Decode(std::min(options.gen_tokens, 8));
    decode.push_back(options.gen_tokens / runner.Decode(options.gen_tokens));
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

absl::Status RefuseOptionsOf(const CLI::App& bench, std::string_view verb) {
  for (const CLI::Option* option : bench.get_options()) {
    if (option->count() == 0) continue;
    return UsageError(base::StrCat(option->get_name(), " is no option of 'linnet bench ", verb, "'; see 'linnet bench ",
                                   verb, " --help'"));
  }
  return absl::OkStatus();
}

void AddBenchCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command = context.Add(
      app, "bench", "Measure a model's speed on this machine, and what the machine allows",
      {"linnet bench --model model.gguf --prompt-tokens 512 --gen-tokens 128 -o json",
       "linnet bench rows --model model.gguf --prefill 32,512 --decode 0,2048 --streams 1,8", "linnet bench limits"});
  const auto options = std::make_shared<Options>();
  AddLocalModelOptions(command, options->local);
  command->get_option("--model")->required(false);  // of the command itself, not of its verbs: checked below
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
  AddBenchRowsCommand(*command, context);
  AddBenchLimitsCommand(*command, context);
  command->callback([&context, command, options] {
    if (!command->get_subcommands().empty()) return;  // a verb, which has set the action
    context.action = [&context, options]() -> absl::Status {
      if (options->local.model.empty()) return UsageError("--model is required");
      return Bench(*options, context);
    };
  });
}

}  // namespace linnet::cli
