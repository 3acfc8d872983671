// linnet bench rows
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/isa.h"
#include "tools/linnet/bench.h"
#include "tools/linnet/bench_runner.h"
#include "tools/linnet/local_model.h"
#include "worker/model/kv_cache.h"

namespace linnet::cli {
namespace {

struct Options {
  LocalModelOptions local;
  std::vector<int> prefill;  // prompt lengths
  std::vector<int> decode;   // contexts of one stream
  std::vector<int> streams;  // numbers of streams
  int stream_context = 16;
  int gen_tokens = 32;
  int repetitions = 1;
};

using Json = nlohmann::ordered_json;

// Measures what the options ask for, one row of results after the other.
class Rows {
 public:
  Rows(const Options& options, worker::Model& model, worker::KvCache& cache)
      : options_(options), runner_(model, cache) {}

  void Prefill() {
    for (size_t i = 0; i < options_.prefill.size(); ++i) {
      const int tokens = options_.prefill[i];
      if (i == 0) runner_.Prefill(tokens);  // warms up
      const auto measure = [&] { return runner_.Prefill(tokens); };
      Add({{"row", "prefill"}, {"tokens", tokens}}, tokens, absl::StrFormat("prefill %d", tokens), measure);
    }
    runner_.Clear();
  }
  void Decode() {
    for (const int context : options_.decode) {
      runner_.Fill(1, context, options_.gen_tokens);
      runner_.Decode(std::min(4, options_.gen_tokens));
      Add({{"row", "decode"}, {"context", context}, {"gen_tokens", options_.gen_tokens}}, options_.gen_tokens,
          absl::StrFormat("decode at %d", context), [&] { return runner_.Decode(options_.gen_tokens); });
    }
    runner_.Clear();
  }
  void Streams() {
    for (const int streams : options_.streams) {
      runner_.Fill(streams, options_.stream_context, options_.gen_tokens);
      runner_.Decode(std::min(2, options_.gen_tokens));
      Add({{"row", "streams"},
           {"streams", streams},
           {"context", options_.stream_context},
           {"gen_tokens", options_.gen_tokens}},
          int64_t{streams} * options_.gen_tokens, absl::StrFormat("%d stream%s", streams, streams == 1 ? "" : "s"),
          [&] { return runner_.Decode(options_.gen_tokens); });
    }
    runner_.Clear();
  }

  const Json& json() const { return rows_; }
  const std::string& table() const { return table_; }

 private:
  template <class F>
  void Add(Json row, int64_t tokens, const std::string& title, const F& measure) {
    std::vector<double> rates(static_cast<size_t>(options_.repetitions));
    for (double& rate : rates) rate = static_cast<double>(tokens) / measure();
    row["tokens_per_s"] = rates;
    rows_.push_back(std::move(row));
    absl::StrAppendFormat(&table_, "%-18s", title);
    for (const double rate : rates) absl::StrAppendFormat(&table_, " %9.1f", rate);
    absl::StrAppend(&table_, " tokens/s\n");
  }

  const Options& options_;
  BenchRunner runner_;
  Json rows_ = Json::array();
  std::string table_;
};

absl::Status CheckLengths(const Options& options, const worker::Model& model) {
  int64_t longest = 0;
  for (const int tokens : options.prefill) longest = std::max<int64_t>(longest, tokens);
  for (const int context : options.decode) longest = std::max<int64_t>(longest, int64_t{context} + options.gen_tokens);
  if (!options.streams.empty()) {
    longest = std::max<int64_t>(longest, int64_t{options.stream_context} + options.gen_tokens);
  }
  const int64_t room = model.description().context_tokens;
  if (longest > room) return UsageError(base::StrCat(longest, " tokens exceed the model's context of ", room));
  for (const int streams : options.streams) {
    if (streams > model.max_step_tokens()) {
      return UsageError(base::StrCat("--streams is at most ", model.max_step_tokens()));
    }
  }
  return absl::OkStatus();
}

// The most that one of the rows holds at a time.
int64_t BlocksFor(const Options& options) {
  int64_t blocks = 1;
  for (const int tokens : options.prefill) blocks = std::max(blocks, BenchRunner::Blocks(1, tokens));
  for (const int context : options.decode) {
    blocks = std::max(blocks, BenchRunner::Blocks(1, int64_t{context} + options.gen_tokens));
  }
  for (const int streams : options.streams) {
    blocks = std::max(blocks, BenchRunner::Blocks(streams, int64_t{options.stream_context} + options.gen_tokens));
  }
  return blocks;
}

absl::Status BenchRows(const Options& options, const CommandContext& context) {
  if (options.prefill.empty() && options.decode.empty() && options.streams.empty()) {
    return UsageError("nothing to measure: give --prefill, --decode or --streams");
  }
  LINNET_ASSIGN_OR_RETURN(const LocalModel local, LoadLocalModel(options.local, context));
  worker::Model& model = *local.model;
  LINNET_RETURN_IF_ERROR(CheckLengths(options, model));
  LINNET_ASSIGN_OR_RETURN(const auto cache,
                          worker::KvCache::Create(model.description(), model.kv_type(), BlocksFor(options)));
  Rows rows(options, model, *cache);
  rows.Prefill();
  rows.Decode();
  rows.Streams();
  LINNET_ASSIGN_OR_RETURN(const kernels::Isa isa, kernels::ActiveIsa());
  return context.Print({{"rows", rows.json()},
                        {"load_ms", local.load_ms},
                        {"peak_rss_bytes", base::ReadProcessMemory().peak_resident_bytes},
                        {"isa", kernels::IsaName(isa)},
                        {"threads", model.pool().threads()},
                        {"weight_bytes", model.weight_bytes()},
                        {"weight_bytes_per_token", model.weight_bytes_per_token()},
                        {"kv_bytes_per_token", worker::KvCache::BytesPerToken(model.description(), model.kv_type())},
                        {"kv_cache_bytes", cache->bytes()},
                        {"numerics_id", model.numerics_id()}},
                       rows.table());
}

}  // namespace

void AddBenchRowsCommand(CLI::App& bench, CommandContext& context) {
  CLI::App* command = context.Add(
      bench, "rows", "Measure several sizes in one process, each sample by itself",
      {"linnet bench rows --model model.gguf --prefill 32,512,2048 --decode 0,2048 --streams 1,2,4,8 -o json"});
  const auto options = std::make_shared<Options>();
  AddLocalModelOptions(command, options->local);
  command->add_option("--prefill", options->prefill, "Prompt lengths to prefill")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--decode", options->decode, "Contexts after which one stream decodes; rising ones share the work")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 20));
  command->add_option("--streams", options->streams, "Numbers of streams that decode together")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  command->add_option("--stream-context", options->stream_context, "Context of each of several streams")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--gen-tokens", options->gen_tokens, "Tokens to decode in each stream")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--repetitions", options->repetitions, "Samples of each row, after one to warm up")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  context.OnRun(command, [&context, &bench, options]() -> absl::Status {
    LINNET_RETURN_IF_ERROR(RefuseOptionsOf(bench, "rows"));
    return BenchRows(*options, context);
  });
}

}  // namespace linnet::cli
