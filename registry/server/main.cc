// linnet-registry: keeps models, variants, device profiles, deployments and blobs, and tells who watches what changed.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "absl/log/log.h"
#include "base/config.h"
#include "base/file.h"
#include "base/log.h"
#include "base/shutdown.h"
#include "base/strings.h"
#include "base/version.h"
#include "linnet/config/v1/config.pb.h"
#include "registry/server/server.h"

namespace {

// How long calls in progress may go on after SIGTERM.
constexpr absl::Duration kGrace = absl::Seconds(5);

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "linnet-registry: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  linnet::base::BlockShutdownSignals();

  CLI::App app{"Linnet's registry of models", "linnet-registry"};
  std::string config_path, listen, metrics_listen, data_dir, port_file;
  bool insecure = false;
  app.add_option("--config", config_path, "linnet.config.v1.RegistryConfig as a protobuf text file")->type_name("FILE");
  app.add_option("--listen", listen, "address for gRPC; port 0 takes a free one (127.0.0.1:8082)")
      ->type_name("HOST:PORT");
  app.add_option("--metrics-listen", metrics_listen, "address for /metrics, /healthz, /readyz (127.0.0.1:9465)")
      ->type_name("HOST:PORT");
  app.add_option("--data-dir", data_dir, "folder for database and blobs")->type_name("FOLDER");
  app.add_option("--ready-file,--print-port-file", port_file,
                 "once serving, write the ports here: {\"grpc\":N,\"metrics\":N}")
      ->type_name("FILE");
  app.add_flag("--insecure", insecure, "listen without TLS on addresses that are not loopback");
  app.set_version_flag("--version", linnet::base::StrCat("linnet-registry ", linnet::base::kVersion));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }

  linnet::base::InitLogging("linnet-registry");
  linnet::registry::RegistryServer::Options options;
  if (absl::Status status = linnet::base::ReadConfig(config_path, &options.config); !status.ok()) return Fail(status);
  if (!listen.empty()) options.config.mutable_listen()->set_address(listen);
  if (insecure) options.config.mutable_listen()->set_insecure(true);
  if (!metrics_listen.empty()) options.config.mutable_metrics()->set_address(metrics_listen);
  if (!data_dir.empty()) options.config.set_data_dir(data_dir);
  options.config = linnet::registry::WithDefaults(std::move(options.config));
  LOG(INFO) << linnet::base::LogFields("configuration", {{"config", options.config.ShortDebugString()}});

  auto server = linnet::registry::RegistryServer::Create(std::move(options));
  if (!server.ok()) return Fail(server.status());
  LOG(INFO) << linnet::base::LogFields("serving", {{"grpc_port", linnet::base::StrCat((*server)->grpc_port())},
                                                   {"metrics_port", linnet::base::StrCat((*server)->metrics_port())}});
  if (!port_file.empty()) {
    const std::string ports =
        linnet::base::StrCat("{\"grpc\":", (*server)->grpc_port(), ",\"metrics\":", (*server)->metrics_port(), "}\n");
    if (absl::Status status = linnet::base::WriteFileDurably(port_file, ports); !status.ok()) return Fail(status);
  }
  linnet::base::WaitForShutdownSignal();
  LOG(INFO) << linnet::base::LogFields("draining", {});
  (*server)->Shutdown(kGrace);
  return 0;
}
