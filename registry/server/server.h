// The registry process, in one object: store, blobs, services, operator's port. main.cc wraps it; tests make it in
// process.
//
// Construction order is that of the members: what serves is built last and goes first.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "linnet/config/v1/config.pb.h"

namespace linnet::registry {

// Thread-safe after Create.
class RegistryServer {
 public:
  struct Options {
    config::v1::RegistryConfig config;
    base::Clock* clock = base::Clock::Real();
    absl::Duration heartbeat = absl::Seconds(10);
  };
  // Checks the configuration (every error reported together), opens the data folder, and serves. Errors name what is
  // wrong and what to do: a folder that cannot be written, a database in use, a port in use, an address that is not
  // loopback.
  static absl::StatusOr<std::unique_ptr<RegistryServer>> Create(Options options);
  // Shutdown with no time.
  virtual ~RegistryServer() = default;

  virtual int grpc_port() const = 0;
  virtual int metrics_port() const = 0;
  // Stops being ready, ends the Watch streams with DRAINING, lets other calls finish for `grace`, then cancels them.
  virtual void Shutdown(absl::Duration grace) = 0;
};

// The configuration with its defaults filled in.
config::v1::RegistryConfig WithDefaults(config::v1::RegistryConfig config);

}  // namespace linnet::registry
