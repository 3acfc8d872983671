// The whole gateway process as an object: worker table, gRPC and HTTP fronts, operator's port. main() makes one of it,
// and so do tests.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "linnet/config/v1/config.pb.h"

namespace linnet::gateway {

// Fills in defaults and checks everything; INVALID_ARGUMENT names all errors at once.
absl::Status CompleteConfig(config::v1::GatewayConfig* config);

class GatewayServer {
 public:
  // Listens on all three ports. Takes a completed config. FAILED_PRECONDITION names an address that is taken.
  static absl::StatusOr<std::unique_ptr<GatewayServer>> Create(const config::v1::GatewayConfig& config);
  virtual ~GatewayServer() = default;  // Shutdown()

  virtual int grpc_port() const = 0;
  virtual int http_port() const = 0;
  virtual int metrics_port() const = 0;

  // Refuses what is new, lets what runs go on for drain_timeout_ms, then cancels it. Once.
  virtual void Shutdown() = 0;
};

}  // namespace linnet::gateway
