#include "registry/server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <atomic>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/ops_server.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/thread.h"
#include "registry/blobs/blob_store.h"
#include "registry/catalog/device_catalog.h"
#include "registry/server/blob_service.h"
#include "registry/server/catalog.h"
#include "registry/server/io_pool.h"
#include "registry/server/lease_table.h"
#include "registry/server/metrics.h"
#include "registry/server/registry_service.h"
#include "registry/server/watch_hub.h"
#include "registry/store/resource.h"
#include "registry/store/store.h"

namespace linnet::registry {
namespace {

// A chunk of 2 MiB and what is around it; a publish is far below.
constexpr int kMaxReceiveBytes = 4 << 20;
constexpr int kIoThreads = 2;

absl::Status CheckConfig(const config::v1::RegistryConfig& config) {
  std::vector<std::pair<std::string, std::string>> violations;
  const auto check = [&](const char* field, const absl::Status& status) {
    if (!status.ok()) violations.emplace_back(field, std::string(status.message()));
  };
  check("listen.address", base::CheckListenAddress("registry", config.listen().address(), config.listen().insecure()));
  check("metrics.address", base::CheckListenAddress("metrics", config.metrics().address(), config.listen().insecure()));
  if (config.data_dir().empty())
    violations.emplace_back("data_dir", "is missing: a folder for database and blobs (--data-dir)");
  if (config.watch_log_entries() > 100'000'000)
    violations.emplace_back("watch_log_entries", "must be at most 100000000");
  return violations.empty() ? absl::OkStatus() : base::FieldErrors(violations);
}

class Server final : public RegistryServer {
 public:
  explicit Server(Options options) : options_(std::move(options)), leases_(options_.clock), pool_(kIoThreads) {}
  ~Server() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Start();
  int grpc_port() const override { return grpc_port_; }
  int metrics_port() const override { return ops_->port(); }
  void Shutdown(absl::Duration grace) override;

 private:
  absl::Status OpenData();
  absl::Status Serve();
  void UpdateGauges();
  void TickLoop();
  void SetServing(bool serving);

  const Options options_;
  Metrics metrics_;
  LeaseTable leases_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<Store> store_;  // its thread runs the catalogue's mutations, so it ends first
  std::unique_ptr<WatchHub> hub_;
  std::unique_ptr<RegistryService> registry_service_;
  std::unique_ptr<BlobService> blob_service_;
  IoPool pool_;  // its threads run what the services queue, so it ends before them
  std::unique_ptr<base::OpsServer> ops_;
  std::unique_ptr<grpc::Server> server_;
  int grpc_port_ = 0;
  std::atomic<bool> ready_{false};

  base::Mutex mu_;
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool shut_down_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread ticker_;
};

absl::Status Server::OpenData() {
  const std::string& data_dir = options_.config.data_dir();
  Store::Options store;
  store.path = data_dir + "/db";
  store.watch_log_entries = options_.config.watch_log_entries();
  store.clock = options_.clock;
  // First the database: its lock keeps a second process out of the blobs as well.
  LINNET_ASSIGN_OR_RETURN(store_, Store::Open(std::move(store)));
  BlobStore::Options blobs;
  blobs.path = data_dir + "/blobs";
  blobs.clock = options_.clock;
  LINNET_ASSIGN_OR_RETURN(blobs_, BlobStore::Open(std::move(blobs)));
  catalog_ = std::make_unique<Catalog>(store_.get(), blobs_.get());
  WatchHub::Options hub;
  hub.store = store_.get();
  hub.metrics = &metrics_;
  hub.clock = options_.clock;
  hub.heartbeat = options_.heartbeat;
  hub_ = std::make_unique<WatchHub>(hub);
  store_->OnCommit([this](int64_t revision) {
    metrics_.revision.Set(static_cast<double>(revision));
    hub_->Wake();
  });

  LINNET_ASSIGN_OR_RETURN(const std::vector<v1::DeviceProfile> profiles, BuiltinDeviceProfiles());
  for (const v1::DeviceProfile& profile : profiles) LINNET_RETURN_IF_ERROR(Validate(profile));
  LINNET_RETURN_IF_ERROR(catalog_->InstallBuiltinProfiles(profiles));
  LINNET_ASSIGN_OR_RETURN(const std::set<std::string> referenced, catalog_->ReferencedBlobs());
  return blobs_->RemoveUnreferenced(referenced).status();
}

absl::Status Server::Serve() {
  registry_service_ = std::make_unique<RegistryService>(catalog_.get(), &leases_, hub_.get(), &metrics_);
  blob_service_ = std::make_unique<BlobService>(blobs_.get(), &pool_, &metrics_);

  base::OpsServer::Options ops;
  ops.address = options_.config.metrics().address();
  ops.registry = metrics_.registry();
  ops.ready = [this] {
    return ready_ ? absl::OkStatus() : absl::UnavailableError("the registry is starting or stopping");
  };
  LINNET_ASSIGN_OR_RETURN(ops_, base::OpsServer::Create(std::move(ops)));

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  const std::string& address = options_.config.listen().address();
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &grpc_port_);
  // Two registries on one port would share its connections out between them.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.RegisterService(registry_service_.get());
  builder.RegisterService(blob_service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || grpc_port_ == 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "STATE_CONFLICT",
                       base::StrCat("cannot listen on ", address,
                                    ": the port is in use, or not this user's to take; stop "
                                    "what runs there, or choose another with --listen"));
  }
  return absl::OkStatus();
}

absl::Status Server::Start() {
  LINNET_RETURN_IF_ERROR(CheckConfig(options_.config));
  LINNET_RETURN_IF_ERROR(OpenData());
  LINNET_RETURN_IF_ERROR(Serve());
  UpdateGauges();
  ticker_ = base::StartThread("registry-tick", [this] { TickLoop(); });
  SetServing(true);
  return absl::OkStatus();
}

void Server::SetServing(bool serving) {
  ready_ = serving;
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  if (health == nullptr) return;
  health->SetServingStatus("liveness", true);
  for (const char* name : {"", "readiness", "linnet.registry.v1.Registry", "linnet.registry.v1.Blobs"}) {
    health->SetServingStatus(name, serving);
  }
}

// What is counted elsewhere and only looked at here.
void Server::UpdateGauges() {
  metrics_.revision.Set(static_cast<double>(store_->revision()));
  metrics_.database_bytes.Set(static_cast<double>(store_->SizeBytes()));
  metrics_.blob_bytes.Set(static_cast<double>(blobs_->total_bytes()));
  metrics_.workers.Set(static_cast<double>(leases_.size()));
}

void Server::TickLoop() {
  for (;;) {
    {
      base::MutexLock lock(&mu_);
      if (!stopping_) wake_.WaitFor(&mu_, std::chrono::seconds(1));
      if (stopping_) return;
    }
    UpdateGauges();
  }
}

void Server::Shutdown(absl::Duration grace) {
  {
    base::MutexLock lock(&mu_);
    if (std::exchange(shut_down_, true)) return;
    stopping_ = true;
  }
  wake_.NotifyAll();
  if (ticker_.joinable()) ticker_.join();
  if (server_ != nullptr) {
    if (grpc_port_ != 0) SetServing(false);
    hub_->Drain();
    server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(grace));
    server_->Wait();
  }
}

}  // namespace

config::v1::RegistryConfig WithDefaults(config::v1::RegistryConfig config) {
  if (config.listen().address().empty()) config.mutable_listen()->set_address("127.0.0.1:8082");
  if (config.metrics().address().empty()) config.mutable_metrics()->set_address("127.0.0.1:9465");
  if (config.watch_log_entries() == 0) config.set_watch_log_entries(100'000);
  return config;
}

absl::StatusOr<std::unique_ptr<RegistryServer>> RegistryServer::Create(Options options) {
  options.config = WithDefaults(std::move(options.config));
  auto server = std::make_unique<Server>(std::move(options));
  LINNET_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace linnet::registry
