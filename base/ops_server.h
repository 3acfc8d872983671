// The operator's port of a binary: GET /metrics (Prometheus text), /healthz (the process lives), /readyz (it serves).
// One thread of its own ("ops"), which never waits for compute.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "prometheus/registry.h"

namespace linnet::base {

class OpsServer {
 public:
  struct Options {
    std::string address;  // "host:port"; port 0 takes a free one
    std::shared_ptr<prometheus::Registry> registry;
    // OK: ready. Otherwise the message is the body of the 503. Called on the server's thread; must not block.
    std::function<absl::Status()> ready = [] { return absl::OkStatus(); };
    // For a whole request to arrive, and how long a kept connection may be idle.
    absl::Duration request_timeout = absl::Seconds(5);
  };
  static absl::StatusOr<std::unique_ptr<OpsServer>> Create(Options options);
  virtual ~OpsServer() = default;  // stops the thread
  virtual int port() const = 0;
};

}  // namespace linnet::base
