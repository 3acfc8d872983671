// Keeps a worker's lease in the registry alive, so that gateways find it; gives it back at the end.
//
//   LeaseKeeper::Options options;
//   options.client = client.get();
//   options.worker.set_name("workers/node-3");
//   options.worker.set_address("10.0.0.3:8083");
//   options.worker.set_state("STARTING");
//   LINNET_ASSIGN_OR_RETURN(auto lease, LeaseKeeper::Create(std::move(options)));
//   ...
//   lease->Update(worker);   // state READY, ready_variants ...: renews at once
//
// The registry may be away: renewal is tried again, soon at first, and the lease is taken anew when it is back.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "registry/client/registry_client.h"

namespace linnet::registry {

// Thread-safe. One thread, "registry-lease".
class LeaseKeeper {
 public:
  struct Options {
    RegistryClient* client = nullptr;  // must outlive the keeper
    v1::Worker worker;
    absl::Duration duration = absl::Seconds(15);  // at most 60 s
  };
  // INVALID_ARGUMENT where the worker's name, address or the duration is malformed. Never waits for the registry.
  static absl::StatusOr<std::unique_ptr<LeaseKeeper>> Create(Options options);
  // Releases the lease, trying for at most a second.
  virtual ~LeaseKeeper() = default;

  // Replaces what the lease says of the worker (its name must stay) and renews soon, without waiting for it.
  virtual void Update(const v1::Worker& worker) = 0;
  // Of the last renewal; UNAVAILABLE before the first.
  virtual absl::Status last_status() const = 0;
};

}  // namespace linnet::registry
