// The worker as a whole: owns its parts in the order in which they are built, so that destruction is shutdown.
//
//   registry ──Watcher──▶ VariantManager ──▶ engines ◀── ControlService ◀── gateways
//       ▲                      │ on_change
//       └──── LeaseKeeper ◀────┴───▶ health, StatusHub
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/ops_server.h"
#include "kernels/thread_pool.h"
#include "linnet/config/v1/config.pb.h"
#include "registry/client/lease_keeper.h"
#include "registry/client/registry_client.h"
#include "registry/client/watcher.h"
#include "worker/model/packed_cache.h"
#include "worker/server/control_service.h"
#include "worker/server/metrics.h"
#include "worker/server/status_hub.h"
#include "worker/server/variant_manager.h"

namespace linnet::worker {

// Thread-safe.
class WorkerProcess {
 public:
  // Checks the configuration, listens, and begins to load; never waits for the registry or for a model.
  // INVALID_ARGUMENT: the configuration. UNAVAILABLE: an address in use. Others: the cache folder.
  static absl::StatusOr<std::unique_ptr<WorkerProcess>> Create(config::v1::WorkerConfig config);
  // Drain(), then stops everything.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  int grpc_port() const { return grpc_port_; }
  int metrics_port() const { return ops_->port(); }
  absl::Status readiness() const { return variants_->readiness(); }

  // Takes no new requests, says so to gateways and registry, and waits for the streams that run: for drain_seconds,
  // then they are ended with UNAVAILABLE DRAINING. A second call does nothing.
  void Drain();

 private:
  explicit WorkerProcess(config::v1::WorkerConfig config) : config_(std::move(config)) {}
  absl::Status Start();
  absl::Status MakeVariants();
  absl::Status Listen();
  absl::Status JoinRegistry();
  registry::v1::Worker Presence() const;
  v1::WorkerStatus Status() const;
  // A variant's state, or that of the process, is another one: tells everyone.
  void Changed();
  void UpdateHealth();
  void UpdateMetrics();
  void RegisterProfile(std::stop_token stop);
  bool draining() const;

  const config::v1::WorkerConfig config_;
  registry::v1::DeviceProfile profile_;
  WorkerMetrics metrics_;
  std::unique_ptr<registry::RegistryClient> registry_;  // null: none configured
  std::unique_ptr<kernels::ThreadPool> pool_;
  std::unique_ptr<PackedCache> packed_cache_;  // null: no cache_dir, or disabled
  std::unique_ptr<VariantLoader> loader_;
  CallTable calls_;
  CallContext context_;
  std::unique_ptr<VariantManager> variants_;
  std::unique_ptr<WorkQueue> encoders_;
  std::unique_ptr<StatusHub> hub_;
  std::unique_ptr<ControlService> service_;
  std::unique_ptr<grpc::Server> server_;
  int grpc_port_ = 0;
  std::unique_ptr<base::OpsServer> ops_;
  std::unique_ptr<registry::Watcher> watcher_;

  mutable base::Mutex mu_;
  base::CondVar stopping_;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<registry::LeaseKeeper> lease_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> health_names_ ABSL_GUARDED_BY(mu_);  // models that were ever ready

  std::jthread profile_thread_;  // "profile"
};

}  // namespace linnet::worker
