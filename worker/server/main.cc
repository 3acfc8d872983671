// linnet-worker: runs models on this machine's CPU and serves them to gateways.
#include <google/protobuf/text_format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/log/log.h"
#include "base/config.h"
#include "base/file.h"
#include "base/log.h"
#include "base/shutdown.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "worker/server/worker_config.h"
#include "worker/server/worker_process.h"

namespace linnet::worker {
namespace {

struct Flags {
  std::string config, listen, metrics_listen, registry, cache_dir, name, advertise, ready_file, kv_cache_type;
  std::vector<std::string> models, local_models;
  uint32_t threads = 0, context = 0, max_running = 0, max_queued = 0;
  uint64_t kv_cache_tokens = 0, max_memory_bytes = 0;
  bool insecure = false, stub_model = false;
};

absl::StatusOr<config::v1::WorkerConfig> MakeConfig(const Flags& flags) {
  config::v1::WorkerConfig config;
  LINNET_RETURN_IF_ERROR(base::ReadConfig(flags.config, &config));
  if (!flags.listen.empty()) config.mutable_listen()->set_address(flags.listen);
  if (!flags.metrics_listen.empty()) config.mutable_metrics()->set_address(flags.metrics_listen);
  if (!flags.registry.empty()) config.set_registry_address(flags.registry);
  if (!flags.cache_dir.empty()) config.set_cache_dir(flags.cache_dir);
  if (!flags.name.empty()) config.set_name(flags.name);
  if (!flags.advertise.empty()) config.set_advertise_address(flags.advertise);
  for (const std::string& model : flags.models) config.add_models(model);
  for (const std::string& model : flags.local_models) config.add_local_models(model);
  if (flags.stub_model) config.set_stub_model(true);
  if (flags.insecure) config.mutable_listen()->set_insecure(true);
  if (flags.threads > 0) config.set_threads(flags.threads);
  if (flags.max_memory_bytes > 0) config.set_max_memory_bytes(flags.max_memory_bytes);
  if (flags.context > 0) config.mutable_engine()->set_context_tokens(flags.context);
  if (flags.kv_cache_tokens > 0) config.mutable_engine()->set_kv_cache_tokens(flags.kv_cache_tokens);
  if (!flags.kv_cache_type.empty()) {
    config.mutable_engine()->set_kv_cache_type(flags.kv_cache_type == "q8_0" ? config::v1::KV_CACHE_TYPE_Q8_0
                                                                             : config::v1::KV_CACHE_TYPE_F16);
  }
  if (flags.max_running > 0) config.mutable_engine()->set_max_running_requests(flags.max_running);
  if (flags.max_queued > 0) config.mutable_engine()->set_max_queued_requests(flags.max_queued);
  FillDefaults(&config);
  return config;
}

absl::Status Run(const Flags& flags) {
  LINNET_ASSIGN_OR_RETURN(const config::v1::WorkerConfig config, MakeConfig(flags));
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(config, &text);
  LOG(INFO) << base::LogFields("configuration", {{"version", base::kVersion}, {"config", text}});
  LINNET_ASSIGN_OR_RETURN(auto process, WorkerProcess::Create(config));
  LOG(INFO) << base::LogFields("listening", {{"grpc_port", std::to_string(process->grpc_port())},
                                             {"metrics_port", std::to_string(process->metrics_port())}});
  if (!flags.ready_file.empty()) {
    const nlohmann::ordered_json ports = {{"grpc", process->grpc_port()}, {"metrics", process->metrics_port()}};
    LINNET_RETURN_IF_ERROR(base::WriteFileDurably(flags.ready_file, ports.dump() + "\n"));
  }
  const int signal = base::WaitForShutdownSignal();
  LOG(INFO) << base::LogFields("stopping", {{"signal", std::to_string(signal)}});
  process->Drain();
  process.reset();
  LOG(INFO) << base::LogFields("stopped", {});
  return absl::OkStatus();
}

}  // namespace
}  // namespace linnet::worker

int main(int argc, char** argv) {
  linnet::base::BlockShutdownSignals();
  linnet::worker::Flags flags;
  CLI::App app("Linnet's worker: runs models on this machine's CPU and serves them to gateways.", "linnet-worker");
  app.set_version_flag("--version", std::string("linnet-worker ") + linnet::base::kVersion);
  app.add_option("--config", flags.config, "Protobuf text file of linnet.config.v1.WorkerConfig")->type_name("FILE");
  app.add_option("--listen", flags.listen, "gRPC (default 127.0.0.1:8083)")->type_name("HOST:PORT");
  app.add_option("--metrics-listen", flags.metrics_listen, "Metrics and health (default 127.0.0.1:9466)")
      ->type_name("HOST:PORT");
  app.add_option("--registry", flags.registry, "The registry")->type_name("HOST:PORT");
  app.add_option("--cache-dir", flags.cache_dir, "Keeps blobs and what was last known of the registry")
      ->type_name("DIR");
  app.add_option("--name", flags.name, "This worker's id (default: the host's name)")->type_name("ID");
  app.add_option("--advertise", flags.advertise, "Where gateways reach this worker (default: where it listens)")
      ->type_name("HOST:PORT");
  app.add_option("--model", flags.models,
                 "What to serve: MODEL, MODEL@ALIAS or MODEL/VARIANT; repeatable (default: all)")
      ->type_name("MODEL");
  app.add_option("--local-model", flags.local_models, "Serves a GGUF file without a registry; repeatable")
      ->type_name("NAME=FILE");
  app.add_flag("--stub-model", flags.stub_model, "Serves models/stub, which computes nothing: for measurements");
  app.add_option("--threads", flags.threads, "Compute threads (default: what cgroup and affinity allow)");
  app.add_option("--context", flags.context, "Tokens of prompt and completion together (default: at most 4096)");
  app.add_option("--kv-cache-tokens", flags.kv_cache_tokens, "KV cache over all requests (default: 4 contexts)");
  app.add_option("--kv-cache-type", flags.kv_cache_type, "Of keys and values: f16 (default) or q8_0, half as large")
      ->check(CLI::IsMember({"f16", "q8_0"}));
  app.add_option("--max-running", flags.max_running, "Requests in one batch (default 16)");
  app.add_option("--max-queued", flags.max_queued, "Requests that wait (default 64)");
  app.add_option("--max-memory-bytes", flags.max_memory_bytes, "For models (default: what is available)");
  app.add_flag("--insecure", flags.insecure, "Allow addresses other than loopback, without TLS");
  app.add_option("--ready-file", flags.ready_file, "Written once both ports listen: {\"grpc\":N,\"metrics\":N}")
      ->type_name("FILE");
  app.footer(
      "LINNET_ISA in the environment names the instruction set to compute with (default: the best that this CPU has): "
      "scalar, avx2, avx2_vnni, avx512, avx512_vnni, avx512_amx, neon, neon_dotprod, neon_i8mm.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  linnet::base::InitLogging("linnet-worker");
  if (absl::Status status = linnet::worker::Run(flags); !status.ok()) {
    std::fprintf(stderr, "linnet-worker: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
