// Who serves what right now: a link to each worker that the registry or the configuration names, and from all of them
// an immutable snapshot that requests are routed on.
//
//   WorkerTable table({.static_workers = {"127.0.0.1:8083"}});
//   table.SetRegistry(snapshot);            // whenever the registry's snapshot changes
//   auto fleet = table.Snapshot();          // at any time, from any thread
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "gateway/fleet.h"
#include "gateway/worker_link.h"

namespace linnet::gateway {

// Thread-safe. One thread, "workers", opens and drops links and builds the snapshots: at most one per millisecond,
// however many workers report.
class WorkerTable {
 public:
  struct Options {
    std::vector<std::string> static_workers;
    base::Clock* clock = base::Clock::Real();
    WorkerLink::StubFactory make_stub = MakeWorkerStub;
    // How long a worker that the registry no longer lists, and that does not answer either, stays.
    absl::Duration forget_after = absl::Seconds(10);
    // Called on the table's thread with every new snapshot; must not block.
    std::function<void(const std::shared_ptr<const FleetSnapshot>&)> on_snapshot;
  };
  explicit WorkerTable(Options options);
  ~WorkerTable();
  WorkerTable(const WorkerTable&) = delete;
  WorkerTable& operator=(const WorkerTable&) = delete;

  // The registry's models, aliases and workers. A worker that it no longer lists is kept while it answers: the registry
  // forgets its leases when it restarts.
  void SetRegistry(std::shared_ptr<const registry::RegistrySnapshot> snapshot);

  // Never null.
  std::shared_ptr<const FleetSnapshot> Snapshot() const;

 private:
  void Run();
  // True where links were made or dropped.
  bool SyncLinks(const registry::RegistrySnapshot& registry);
  void Publish(std::shared_ptr<const registry::RegistrySnapshot> registry);

  const Options options_;
  // What wakes the thread; shared with the links' callbacks, which may outlive the table.
  struct Wake {
    base::Mutex mu;
    base::CondVar cv;
    bool stop ABSL_GUARDED_BY(mu) = false;
    bool changed ABSL_GUARDED_BY(mu) = true;
  };
  const std::shared_ptr<Wake> wake_ = std::make_shared<Wake>();
  mutable base::Mutex mu_;
  std::shared_ptr<const registry::RegistrySnapshot> registry_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const FleetSnapshot> snapshot_ ABSL_GUARDED_BY(mu_);
  // Only on the table's thread.
  std::map<std::string, std::unique_ptr<WorkerLink>> links_;
  std::jthread thread_;
};

}  // namespace linnet::gateway
