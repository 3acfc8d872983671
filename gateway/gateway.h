// What both fronts, gRPC and HTTP, stand on: admission, routing, and the calls that are no streams. A generation itself
// is a GenerateCall.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "gateway/metrics.h"
#include "gateway/routing.h"
#include "gateway/worker_table.h"
#include "linnet/v1/generation.pb.h"

namespace linnet::gateway {

// Thread-safe. Outlives all calls that were started on it.
class Gateway {
 public:
  struct Options {
    WorkerTable* workers = nullptr;  // both must outlive the gateway
    Metrics* metrics = nullptr;
    base::Clock* clock = base::Clock::Real();
    uint32_t max_concurrent_requests = 256;
    uint64_t max_request_bytes = 4 << 20;
  };
  explicit Gateway(Options options) : options_(options) {}
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Takes one of the places for running requests; Leave() gives it back. UNAVAILABLE (DRAINING) after Drain(),
  // RESOURCE_EXHAUSTED (QUEUE_FULL) where there is none; both with RetryInfo.
  absl::Status Admit();
  void Leave();

  absl::StatusOr<RouteChoice> RouteFor(std::string_view model, const std::set<std::string>& excluded = {},
                                       bool ignore_queue = false);

  // `done` is called once, possibly before CountTokens returns. Returns a function that cancels the call.
  std::function<void()> CountTokens(const v1::CountTokensRequest& request, absl::Time deadline,
                                    std::function<void(absl::StatusOr<v1::CountTokensResponse>)> done);
  v1::ListModelsResponse ListModels();

  // From now on new requests are refused; those that run go on.
  void Drain();
  bool draining() const;
  // OK: a worker serves a model, and the gateway takes requests.
  absl::Status Ready() const;
  // Waits until no request runs, for at most `timeout`; true if so.
  bool WaitUntilIdle(absl::Duration timeout);

  const Options& options() const { return options_; }
  Metrics& metrics() const { return *options_.metrics; }
  base::Clock& clock() const { return *options_.clock; }

 private:
  const Options options_;
  mutable base::Mutex mu_;
  base::CondVar idle_;
  uint32_t active_ ABSL_GUARDED_BY(mu_) = 0;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  // When a model was first seen served, in Unix seconds; bounded.
  std::map<std::string, int64_t> first_seen_ ABSL_GUARDED_BY(mu_);
};

// A worker's error as the client should see it. Errors that the worker itself gave pass unchanged; those of the
// connection become UNAVAILABLE (WORKER_LOST), a passed deadline DEADLINE_EXCEEDED (DEADLINE_PASSED).
absl::Status FromWorker(const absl::Status& status, std::string_view worker);

}  // namespace linnet::gateway
