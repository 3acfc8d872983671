// Measures a running Linnet, always two things in turn:
//   linnet-loadgen overhead   what the gateway adds to the time to first token, against calling the worker directly
//   linnet-loadgen streams    tokens per second of several streams together, against one alone
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/status_macros.h"
#include "base/version.h"
#include "tools/loadgen/call.h"

namespace linnet::loadgen {
namespace {

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

absl::Status Overhead(const std::string& gateway, const std::string& worker, const std::string& model,
                      const std::string& variant, int calls) {
  const Target through(gateway, model, "");
  const Target direct(worker, model, variant);
  std::vector<double> through_ms, direct_ms, added_ms;
  for (int i = -20; i < calls; ++i) {  // the first ones open connections and are not counted
    LINNET_ASSIGN_OR_RETURN(const CallTimes a, through.Generate("hello", 1));
    LINNET_ASSIGN_OR_RETURN(const CallTimes b, direct.Generate("hello", 1));
    if (i < 0) continue;
    through_ms.push_back(a.first_token_s * 1e3);
    direct_ms.push_back(b.first_token_s * 1e3);
    added_ms.push_back((a.first_token_s - b.first_token_s) * 1e3);
  }
  const nlohmann::json out = {
      {"calls", calls},
      {"gateway_ttft_ms", {{"p50", Quantile(through_ms, 0.5)}, {"p99", Quantile(through_ms, 0.99)}}},
      {"worker_ttft_ms", {{"p50", Quantile(direct_ms, 0.5)}, {"p99", Quantile(direct_ms, 0.99)}}},
      {"added_ttft_ms", {{"p50", Quantile(added_ms, 0.5)}, {"p99", Quantile(added_ms, 0.99)}}},
  };
  std::printf("%s\n", out.dump().c_str());
  return absl::OkStatus();
}

// Tokens per second, all streams together, prefill included.
absl::StatusOr<double> Together(const Target& target, const std::string& prompt, int streams, uint32_t tokens) {
  std::vector<absl::StatusOr<CallTimes>> results(streams, absl::UnknownError("not run"));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(streams));
  const auto start = std::chrono::steady_clock::now();
  for (int s = 0; s < streams; ++s) {
    threads.emplace_back([&, s] { results[s] = target.Generate(prompt + std::to_string(s), tokens); });
  }
  for (std::thread& t : threads) t.join();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  uint32_t total = 0;
  for (const auto& r : results) {
    LINNET_RETURN_IF_ERROR(r.status());
    total += r->tokens;
  }
  return total / seconds;
}

absl::Status Streams(const std::string& gateway, const std::string& model, int streams, uint32_t tokens, int rounds) {
  const Target target(gateway, model, "");
  const std::string prompt = "A short story about the sea, number ";
  std::vector<double> one, many;
  for (int i = -1; i < rounds; ++i) {
    LINNET_ASSIGN_OR_RETURN(const double a, Together(target, prompt, 1, tokens));
    LINNET_ASSIGN_OR_RETURN(const double b, Together(target, prompt, streams, tokens));
    if (i < 0) continue;
    one.push_back(a);
    many.push_back(b);
  }
  const nlohmann::json out = {{"streams", streams},
                              {"tokens_each", tokens},
                              {"one_tokens_per_s", Quantile(one, 0.5)},
                              {"together_tokens_per_s", Quantile(many, 0.5)},
                              {"ratio", Quantile(many, 0.5) / Quantile(one, 0.5)}};
  std::printf("%s\n", out.dump().c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace linnet::loadgen

int main(int argc, char** argv) {
  CLI::App app("Measures a running Linnet");
  app.set_version_flag("--version", linnet::base::kVersion);
  app.require_subcommand(1);
  std::string gateway = "127.0.0.1:8081", worker = "127.0.0.1:8083", model, variant;
  int calls = 2000, streams = 4, rounds = 5;
  uint32_t tokens = 64;

  CLI::App* overhead = app.add_subcommand("overhead", "What the gateway adds to the time to first token");
  overhead->add_option("--gateway", gateway, "host:port")->capture_default_str();
  overhead->add_option("--worker", worker, "host:port")->capture_default_str();
  overhead->add_option("--model", model, "{model}")->required();
  overhead->add_option("--variant", variant, "models/{model}/variants/{variant} at the worker")->required();
  overhead->add_option("--calls", calls)->check(CLI::Range(1, 1000000))->capture_default_str();

  CLI::App* many = app.add_subcommand("streams", "Tokens per second of several streams against one");
  many->add_option("--gateway", gateway, "host:port")->capture_default_str();
  many->add_option("--model", model, "{model}")->required();
  many->add_option("--streams", streams)->check(CLI::Range(1, 64))->capture_default_str();
  many->add_option("--tokens", tokens, "tokens of each stream")->check(CLI::Range(1, 4096))->capture_default_str();
  many->add_option("--rounds", rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const absl::Status status = overhead->parsed() ? linnet::loadgen::Overhead(gateway, worker, model, variant, calls)
                                                 : linnet::loadgen::Streams(gateway, model, streams, tokens, rounds);
  if (!status.ok()) {
    std::fprintf(stderr, "linnet-loadgen: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
