// Streams this worker's status to everyone who watches it (WorkerControl.WatchStatus): at once, when it changes in a
// way that routing should know, at most every 100 ms, and at least once a second, so that silence means trouble.
//
// A watcher that reads slowly skips states: it always gets the newest. One thread, "status", ticks; a test ticks
// itself.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <set>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "linnet/worker/v1/worker.pb.h"

namespace linnet::worker {

class WatchCall;

// Thread-safe.
class StatusHub {
 public:
  static constexpr absl::Duration kMinInterval = absl::Milliseconds(100);
  static constexpr absl::Duration kMaxInterval = absl::Seconds(1);

  struct Options {
    std::function<v1::WorkerStatus()> status;
    // Called at every tick of the thread, before the status is sent: gauges, slow readers.
    std::function<void()> on_tick = [] {};
    base::Clock* clock = base::Clock::Real();
  };
  explicit StatusHub(Options options);
  // Close(), and stops the thread.
  ~StatusHub();

  // Starts the thread.
  void Start();
  // Something worth telling has happened: tick soon.
  void Poke();
  // Sends what is due.
  void Tick();
  // Ends all watches, and those to come, with UNAVAILABLE DRAINING.
  void Close();
  bool WaitUntilEmpty(absl::Duration timeout);

  // The reactor of one call.
  grpc::ServerWriteReactor<v1::WorkerStatus>* Watch();

 private:
  friend class WatchCall;
  void Run(std::stop_token stop);
  void Remove(const std::shared_ptr<WatchCall>& call);

  const Options options_;
  base::Mutex mu_;
  base::CondVar wake_;
  std::set<std::shared_ptr<WatchCall>> calls_ ABSL_GUARDED_BY(mu_);
  bool poked_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;
};

}  // namespace linnet::worker
