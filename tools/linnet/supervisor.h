// Runs processes together: starts them in order, each when the one before is ready, restarts one that dies, and stops
// them in the reverse order.
//
//   Supervisor supervisor({.note = ...});                 // first thing: it blocks the signals it waits for
//   LINNET_ASSIGN_OR_RETURN(ChildProcess * registry, supervisor.Start({...}));
//   ...
//   absl::Status status = supervisor.Run();               // until SIGINT or SIGTERM, or until one cannot be kept alive
//   // the destructor stops them all
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "tools/linnet/child_process.h"

namespace linnet::cli {

// For the main thread, before any other is made.
class Supervisor {
 public:
  struct Options {
    std::function<void(std::string_view)> note;  // a line for people
    absl::Duration ready_timeout = absl::Seconds(60);
    // After SIGTERM; then SIGKILL. A second Ctrl-C skips the wait.
    absl::Duration stop_timeout = absl::Seconds(20);
    // A process that dies more often than this within the window is given up, and everything with it.
    int max_restarts = 5;
    absl::Duration restart_window = absl::Minutes(10);
  };
  explicit Supervisor(Options options);
  ~Supervisor();  // Stop()
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Starts one and waits until it is ready. UNKNOWN with its last log lines where it ends or does not get ready;
  // CANCELLED where SIGINT or SIGTERM came meanwhile. The result lives as long as the supervisor.
  absl::StatusOr<ChildProcess*> Start(ChildProcess::Options options);
  // OK after SIGINT or SIGTERM.
  absl::Status Run();
  // False where one had to be killed.
  bool Stop();

 private:
  struct Child {
    std::unique_ptr<ChildProcess> process;
    base::Backoff backoff;
    std::vector<absl::Time> restarts;
    absl::Time restart_at = absl::InfiniteFuture();
    bool ready = false;
  };
  // Waits for a signal; true where it asks to stop.
  bool WaitForSignal(absl::Duration timeout);
  absl::Status Look(Child& child);

  const Options options_;
  int signal_fd_ = -1;
  int stop_signals_ = 0;
  std::vector<Child> children_;
};

}  // namespace linnet::cli
