// linnet-gateway: takes generation requests over gRPC and OpenAI-style HTTP, and routes each to a worker.
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
#include "gateway/server.h"

namespace linnet::gateway {
namespace {

struct Flags {
  std::string config, listen, http_listen, metrics_listen, registry, state_dir, ready_file;
  std::vector<std::string> workers;
  bool insecure = false;
};

absl::StatusOr<config::v1::GatewayConfig> MakeConfig(const Flags& flags) {
  config::v1::GatewayConfig config;
  LINNET_RETURN_IF_ERROR(base::ReadConfig(flags.config, &config));
  if (!flags.listen.empty()) config.mutable_listen()->set_address(flags.listen);
  if (!flags.http_listen.empty()) config.mutable_http_listen()->set_address(flags.http_listen);
  if (!flags.metrics_listen.empty()) config.mutable_metrics()->set_address(flags.metrics_listen);
  if (!flags.registry.empty()) config.set_registry_address(flags.registry);
  if (!flags.state_dir.empty()) config.set_state_dir(flags.state_dir);
  for (const std::string& worker : flags.workers) config.add_static_workers(worker);
  if (flags.insecure) {
    config.mutable_listen()->set_insecure(true);
    config.mutable_http_listen()->set_insecure(true);
  }
  LINNET_RETURN_IF_ERROR(CompleteConfig(&config));
  return config;
}

absl::Status Run(const Flags& flags) {
  LINNET_ASSIGN_OR_RETURN(const config::v1::GatewayConfig config, MakeConfig(flags));
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(config, &text);
  LOG(INFO) << base::LogFields("configuration", {{"version", base::kVersion}, {"config", text}});
  LINNET_ASSIGN_OR_RETURN(auto server, GatewayServer::Create(config));
  LOG(INFO) << base::LogFields("listening", {{"grpc_port", std::to_string(server->grpc_port())},
                                             {"http_port", std::to_string(server->http_port())},
                                             {"metrics_port", std::to_string(server->metrics_port())}});
  if (!flags.ready_file.empty()) {
    const nlohmann::ordered_json ports = {
        {"grpc", server->grpc_port()}, {"http", server->http_port()}, {"metrics", server->metrics_port()}};
    LINNET_RETURN_IF_ERROR(base::WriteFileDurably(flags.ready_file, ports.dump() + "\n"));
  }
  const int signal = base::WaitForShutdownSignal();
  LOG(INFO) << base::LogFields("stopping", {{"signal", std::to_string(signal)}});
  server->Shutdown();
  LOG(INFO) << base::LogFields("stopped", {});
  return absl::OkStatus();
}

}  // namespace
}  // namespace linnet::gateway

int main(int argc, char** argv) {
  linnet::base::BlockShutdownSignals();
  linnet::gateway::Flags flags;
  CLI::App app("Linnet's gateway: generation requests over gRPC and OpenAI-style HTTP, each routed to a worker.",
               "linnet-gateway");
  app.set_version_flag("--version", std::string("linnet-gateway ") + linnet::base::kVersion);
  app.add_option("--config", flags.config, "Protobuf text file of linnet.config.v1.GatewayConfig")->type_name("FILE");
  app.add_option("--listen", flags.listen, "gRPC (default 127.0.0.1:8081)")->type_name("HOST:PORT");
  app.add_option("--http-listen", flags.http_listen, "OpenAI-style HTTP (default 127.0.0.1:8080)")
      ->type_name("HOST:PORT");
  app.add_option("--metrics-listen", flags.metrics_listen, "Metrics and health (default 127.0.0.1:9464)")
      ->type_name("HOST:PORT");
  app.add_option("--registry", flags.registry, "The registry")->type_name("HOST:PORT");
  app.add_option("--worker", flags.workers, "A worker that needs no registry; repeatable")->type_name("HOST:PORT");
  app.add_option("--state-dir", flags.state_dir, "Keeps what was last known of the registry")->type_name("DIR");
  app.add_flag("--insecure", flags.insecure, "Allow addresses other than loopback, without TLS");
  app.add_option("--ready-file", flags.ready_file,
                 "Written once all ports listen: {\"grpc\":N,\"http\":N,\"metrics\":N}")
      ->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  linnet::base::InitLogging("linnet-gateway");
  if (absl::Status status = linnet::gateway::Run(flags); !status.ok()) {
    std::fprintf(stderr, "linnet-gateway: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
