// The Watch streams. One thread, "registry-watch", reads the log for each stream that is ready for more, so a slow
// client holds up nobody and nothing is queued for it: it just reads later.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "linnet/registry/v1/registry.pb.h"
#include "registry/server/metrics.h"
#include "registry/store/store.h"

namespace linnet::registry {

// Thread-safe.
class WatchHub {
 public:
  struct Options {
    Store* store = nullptr;      // must outlive the hub
    Metrics* metrics = nullptr;  // as well
    base::Clock* clock = base::Clock::Real();
    absl::Duration heartbeat = absl::Seconds(10);
    size_t max_watchers = 1024;
    size_t max_message_bytes = 1 << 20;
  };
  explicit WatchHub(Options options);
  // REQUIRES: the gRPC server has been shut down: no stream is left.
  ~WatchHub();

  // The reactor of one stream; deletes itself.
  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(const v1::WatchRequest& request);
  // There may be something to send.
  void Wake();
  // Ends all streams, also those to come, with UNAVAILABLE (DRAINING).
  void Drain();
  size_t watchers();

 private:
  class Stream;
  void Loop();
  void Remove(Stream* stream);

  const Options options_;
  base::Mutex mu_;
  base::CondVar wake_;
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  std::set<std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
  std::jthread thread_;
};

}  // namespace linnet::registry
