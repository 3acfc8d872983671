// The OpenAI-style HTTP front: /v1/chat/completions, /v1/completions, /v1/models, /healthz, /readyz.
//
//   HttpServer::Create(options)   listens
//   server->Drain()               no new connections; each open one ends after the request that it is in
//   server->Shutdown(2s)          waits so long for them, then closes them, which cancels what they run
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gateway/gateway.h"
#include "linnet/config/v1/config.pb.h"

namespace linnet::gateway {

// Thread-safe. Threads "http/0" ... "http/N-1", an event loop each; a connection stays on one of them.
class HttpServer {
 public:
  struct Options {
    std::string address;            // "host:port"; port 0 takes a free one
    Gateway* gateway = nullptr;     // must outlive the server
    config::v1::HttpLimits limits;  // zero fields take the defaults
  };
  // INVALID_ARGUMENT, or FAILED_PRECONDITION for an address that is taken, which it names with a remedy.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(Options options);
  virtual ~HttpServer() = default;  // Shutdown(0)

  virtual int port() const = 0;
  virtual void Drain() = 0;
  virtual void Shutdown(absl::Duration patience) = 0;
};

}  // namespace linnet::gateway
