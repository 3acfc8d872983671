#include "gateway/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/config.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/ops_server.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "gateway/gateway.h"
#include "gateway/generation_service.h"
#include "gateway/http_server.h"
#include "gateway/metrics.h"
#include "gateway/worker_table.h"
#include "registry/client/registry_client.h"
#include "registry/client/watcher.h"

namespace linnet::gateway {
namespace {

using config::v1::GatewayConfig;

// Once everything is cancelled, calls end as fast as threads run; this only keeps a bug from hanging the process.
constexpr absl::Duration kCancelPatience = absl::Seconds(10);

// grpc.health.v1: "liveness", "readiness", and each model that is or was served.
class Health {
 public:
  void Attach(grpc::Server* server) {
    base::MutexLock lock(&mu_);
    service_ = server->GetHealthCheckService();
    if (service_ != nullptr) service_->SetServingStatus("liveness", true);
    Set("readiness", false);
  }
  void Update(const std::vector<v1::ServedModel>& models) {
    std::set<std::string> served;
    for (const v1::ServedModel& model : models) served.insert(model.model());
    base::MutexLock lock(&mu_);
    if (service_ == nullptr || draining_) return;
    for (const std::string& model : known_) {
      if (!served.contains(model)) Set(model, false);
    }
    for (const std::string& model : served) Set(model, true);
    known_ = std::move(served);
    Set("readiness", !known_.empty());
  }
  void Drain() {
    base::MutexLock lock(&mu_);
    draining_ = true;
    if (service_ == nullptr) return;
    Set("readiness", false);
    for (const std::string& model : known_) Set(model, false);
  }
  // Before the server goes away.
  void Detach() {
    base::MutexLock lock(&mu_);
    service_ = nullptr;
  }

 private:
  void Set(const std::string& name, bool serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (service_ != nullptr) service_->SetServingStatus(name, serving);
  }

  base::Mutex mu_;
  grpc::HealthCheckServiceInterface* service_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::set<std::string> known_ ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
};

class GatewayServerImpl final : public GatewayServer {
 public:
  explicit GatewayServerImpl(GatewayConfig config) : config_(std::move(config)) {}
  ~GatewayServerImpl() override { Shutdown(); }

  absl::Status Start() {
    WorkerTable::Options table;
    table.static_workers.assign(config_.static_workers().begin(), config_.static_workers().end());
    table.on_snapshot = [this](const std::shared_ptr<const FleetSnapshot>& fleet) { OnSnapshot(*fleet); };
    workers_ = std::make_unique<WorkerTable>(std::move(table));
    gateway_ = std::make_unique<Gateway>(Gateway::Options{.workers = workers_.get(),
                                                          .metrics = &metrics_,
                                                          .max_concurrent_requests = config_.max_concurrent_requests(),
                                                          .max_request_bytes = config_.max_request_bytes()});
    LINNET_RETURN_IF_ERROR(StartRegistry());
    LINNET_RETURN_IF_ERROR(StartGrpc());
    LINNET_ASSIGN_OR_RETURN(
        http_, HttpServer::Create(
                   {.address = config_.http_listen().address(), .gateway = gateway_.get(), .limits = config_.http()}));
    LINNET_ASSIGN_OR_RETURN(ops_, base::OpsServer::Create({.address = config_.metrics().address(),
                                                           .registry = metrics_.registry(),
                                                           .ready = [this] { return Ready(); }}));
    return absl::OkStatus();
  }

  int grpc_port() const override { return grpc_port_; }
  int http_port() const override { return http_->port(); }
  int metrics_port() const override { return ops_->port(); }

  void Shutdown() override {
    if (std::exchange(stopped_, true) || gateway_ == nullptr) return;
    const absl::Time until = absl::Now() + absl::Milliseconds(config_.drain_timeout_ms());
    gateway_->Drain();
    health_.Drain();
    if (http_ != nullptr) http_->Drain();
    if (grpc_ != nullptr) {
      grpc_->Shutdown(absl::ToChronoTime(until));  // waits for the calls, then cancels them
      health_.Detach();
      grpc_->Wait();
    }
    if (http_ != nullptr) http_->Shutdown(std::max(until - absl::Now(), absl::ZeroDuration()));
    gateway_->WaitUntilIdle(kCancelPatience);
  }

 private:
  absl::Status StartRegistry() {
    if (config_.registry_address().empty()) return absl::OkStatus();
    LINNET_ASSIGN_OR_RETURN(client_, registry::RegistryClient::Create(config_.registry_address()));
    registry::Watcher::Options options;
    options.client = client_.get();
    if (!config_.state_dir().empty()) {
      LINNET_RETURN_IF_ERROR(base::MakeDirs(config_.state_dir()));
      options.snapshot_path = base::StrCat(config_.state_dir(), "/registry-snapshot.pb");
    }
    options.worker_poll_interval = absl::Seconds(1);
    options.on_change = [this](std::shared_ptr<const registry::RegistrySnapshot> snapshot) {
      workers_->SetRegistry(std::move(snapshot));
    };
    LINNET_ASSIGN_OR_RETURN(watcher_, registry::Watcher::Create(std::move(options)));
    return absl::OkStatus();
  }

  absl::Status StartGrpc() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    service_ = std::make_unique<GenerationService>(*gateway_);
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port in use is an error, not something to share
    // A client may check on its connection every 10 s, also while nothing is generated.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
    builder.SetMaxReceiveMessageSize(static_cast<int>(config_.max_request_bytes()));
    builder.AddListeningPort(config_.listen().address(), grpc::InsecureServerCredentials(), &grpc_port_);
    builder.RegisterService(service_.get());
    grpc_ = builder.BuildAndStart();
    if (grpc_ == nullptr || grpc_port_ == 0) {
      return absl::FailedPreconditionError(
          base::StrCat("cannot listen for gRPC on ", config_.listen().address(),
                       ": the address is in use or is not this machine's; stop what uses it, or choose another with "
                       "--listen HOST:PORT"));
    }
    health_.Attach(grpc_.get());
    health_.Update(ServedModels(*workers_->Snapshot()));
    return absl::OkStatus();
  }

  void OnSnapshot(const FleetSnapshot& fleet) {
    const std::vector<v1::ServedModel> served = ServedModels(fleet);
    size_t ready = 0;
    for (const auto& worker : fleet.workers) {
      ready += !ServedModels(FleetSnapshot{.workers = {worker}}).empty();
    }
    metrics_.workers_known().Set(static_cast<double>(fleet.workers.size()));
    metrics_.workers_ready().Set(static_cast<double>(ready));
    health_.Update(served);
  }

  absl::Status Ready() {
    metrics_.registry_connected().Set(watcher_ != nullptr && watcher_->connected() ? 1 : 0);
    return gateway_->Ready();
  }

  // In the order in which they need each other: destroyed in reverse.
  const GatewayConfig config_;
  bool stopped_ = false;
  Metrics metrics_;
  Health health_;
  std::unique_ptr<WorkerTable> workers_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<registry::RegistryClient> client_;
  std::unique_ptr<registry::Watcher> watcher_;
  std::unique_ptr<GenerationService> service_;
  int grpc_port_ = 0;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<base::OpsServer> ops_;
};

}  // namespace

absl::Status CompleteConfig(GatewayConfig* config) {
  const auto set_default = [](auto* listen, const char* address) {
    if (listen->address().empty()) listen->set_address(address);
  };
  set_default(config->mutable_listen(), "127.0.0.1:8081");
  set_default(config->mutable_http_listen(), "127.0.0.1:8080");
  set_default(config->mutable_metrics(), "127.0.0.1:9464");
  if (config->max_concurrent_requests() == 0) config->set_max_concurrent_requests(256);
  if (config->max_request_bytes() == 0) config->set_max_request_bytes(4 << 20);
  if (config->drain_timeout_ms() == 0) config->set_drain_timeout_ms(30000);

  std::vector<std::string> errors;
  const auto check = [&errors](const absl::Status& status) {
    if (!status.ok()) errors.emplace_back(status.message());
  };
  check(base::CheckListenAddress("listen", config->listen().address(), config->listen().insecure()));
  check(base::CheckListenAddress("http_listen", config->http_listen().address(), config->http_listen().insecure()));
  // The operator's port follows the other two: it shows no prompts, but nobody else needs it either.
  check(base::CheckListenAddress("metrics", config->metrics().address(),
                                 config->listen().insecure() || config->http_listen().insecure()));
  if (!config->registry_address().empty()) check(base::ParseHostPort(config->registry_address()).status());
  for (const std::string& worker : config->static_workers()) check(base::ParseHostPort(worker).status());
  if (config->registry_address().empty() && config->static_workers().empty()) {
    errors.emplace_back(
        "neither registry_address nor static_workers is set: say where workers are found "
        "(--registry HOST:PORT or --worker HOST:PORT)");
  }
  if (config->max_request_bytes() > (64 << 20)) errors.emplace_back("max_request_bytes may be at most 64 MiB");
  if (config->http().threads() > 64) errors.emplace_back("http.threads may be at most 64");
  if (errors.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
}

absl::StatusOr<std::unique_ptr<GatewayServer>> GatewayServer::Create(const GatewayConfig& config) {
  auto server = std::make_unique<GatewayServerImpl>(config);
  LINNET_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace linnet::gateway
