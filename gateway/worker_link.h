// The gateway's line to one worker: a channel, and one WatchStatus stream that tells how loaded the worker is.
//
//        Tick            message                silent > 3 s, or the stream ends
//   IDLE -----> OPENING ---------> LIVE ---------------------------------------> IDLE, tried again after a backoff
//
// A stream that falls silent is given up together with its channel (the connection may be half-open); calls that run on
// the old channel end by themselves.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "gateway/fleet.h"

namespace linnet::gateway {

// Thread-safe. Tick() and View() belong to one thread (WorkerTable's); the stream's events come from gRPC's.
class WorkerLink {
 public:
  using StubFactory =
      std::function<std::shared_ptr<worker::v1::WorkerControl::StubInterface>(const std::string& address)>;
  struct Options {
    std::string address;
    base::Clock* clock = base::Clock::Real();
    // A stream that says nothing for so long is given up: workers report at least once a second.
    absl::Duration silence = absl::Seconds(3);
    // Makes the stub and its channel anew; replaced by tests.
    StubFactory make_stub;
    // Called without locks whenever View() may have changed; may be called once more while or after the link is
    // destroyed.
    std::function<void()> on_change;
  };
  explicit WorkerLink(Options options);
  // Cancels the stream and waits until gRPC is done with it.
  ~WorkerLink();

  // Opens the stream where its time has come, gives up a silent one. Call it every 100 ms or so.
  void Tick();
  std::shared_ptr<const WorkerView> View() const;
  // How long nothing has been heard; zero while live.
  absl::Duration Unheard() const;

 private:
  class Stream;
  struct State;
  void Open();

  const Options options_;
  base::Backoff backoff_;
  int64_t next_attempt_ns_ = 0;
  std::shared_ptr<WorkerHandle> handle_;
  const std::unique_ptr<State> state_;
  // The current one last; the others are on their way out.
  std::vector<std::unique_ptr<Stream>> streams_;
  // The last View and what it was made from.
  mutable std::shared_ptr<const WorkerView> view_;
  mutable std::shared_ptr<const worker::v1::WorkerStatus> view_status_;
};

// A channel of its own (no sharing of connections between links), with keepalive, to an address "host:port".
std::shared_ptr<worker::v1::WorkerControl::StubInterface> MakeWorkerStub(const std::string& address);

}  // namespace linnet::gateway
