// Follows the registry: lists everything once, then Watch, reconnecting with backoff; keeps an immutable snapshot.
//
//   Watcher::Options options;
//   options.client = client.get();
//   options.snapshot_path = state_dir + "/registry-snapshot.pb";
//   options.worker_poll_interval = absl::Seconds(1);                 // a gateway; a worker leaves it at zero
//   options.on_change = [&](std::shared_ptr<const RegistrySnapshot> s) { routes.Update(*s); };
//   LINNET_ASSIGN_OR_RETURN(auto watcher, Watcher::Create(std::move(options)));
//
// The registry may be away: then the last snapshot stays, also across a restart of this process (snapshot_path).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "registry/client/registry_client.h"
#include "registry/client/snapshot.h"

namespace linnet::registry {

// Thread-safe. Threads: "registry-watch", and "registry-poll" where workers are polled.
class Watcher {
 public:
  struct Options {
    RegistryClient* client = nullptr;  // must outlive the watcher
    // Where the last snapshot is kept; empty: nowhere. A file that is missing or damaged is ignored with a log line.
    std::string snapshot_path;
    // How often the workers' leases are listed; zero: not at all.
    absl::Duration worker_poll_interval = absl::ZeroDuration();
    // Called with every new snapshot, one call at a time, from Create (with the one from disk, if any) and then
    // from the watcher's threads; no lock is held. Must return soon, and must not destroy the watcher.
    std::function<void(std::shared_ptr<const RegistrySnapshot>)> on_change;
    absl::Duration initial_backoff = absl::Milliseconds(100);
    absl::Duration max_backoff = absl::Seconds(5);
  };
  // Never waits for the registry.
  static absl::StatusOr<std::unique_ptr<Watcher>> Create(Options options);
  // Ends both threads and any call in progress; after it, on_change is not called.
  virtual ~Watcher() = default;

  // Never null; empty with revision 0 until something is known.
  virtual std::shared_ptr<const RegistrySnapshot> snapshot() const = 0;
  // The watch stream is open and the snapshot follows the registry.
  virtual bool connected() const = 0;
  // True once the registry has answered since this process started, waiting up to `timeout`.
  virtual bool WaitForFirstAnswer(absl::Duration timeout) = 0;
};

}  // namespace linnet::registry
