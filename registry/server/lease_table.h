// Which workers are there: leases in memory, never stored. A restart of the registry forgets them; workers renew within
// seconds, and until the longest lease could have been renewed the list says that it is settling.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "linnet/registry/v1/registry.pb.h"

namespace linnet::registry {

// Thread-safe.
class LeaseTable {
 public:
  static constexpr absl::Duration kMaxLease = absl::Seconds(60);
  static constexpr size_t kMaxWorkers = 10'000;

  explicit LeaseTable(base::Clock* clock) : clock_(clock), start_ns_(clock->MonotonicNs()) {}

  // INVALID_ARGUMENT with every violation; RESOURCE_EXHAUSTED (LIMIT_EXCEEDED) above kMaxWorkers.
  absl::StatusOr<v1::RenewLeaseResponse> Renew(const v1::RenewLeaseRequest& request);
  // In order of names; expired ones are gone.
  v1::ListWorkersResponse List();
  size_t size();

 private:
  struct Lease {
    v1::Worker worker;
    int64_t expires_ns = 0;  // monotonic
  };
  void Expire() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Clock* const clock_;
  const int64_t start_ns_;
  base::Mutex mu_;
  std::map<std::string, Lease> leases_ ABSL_GUARDED_BY(mu_);
};

}  // namespace linnet::registry
