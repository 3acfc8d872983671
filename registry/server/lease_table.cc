#include "registry/server/lease_table.h"

#include <utility>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "base/strings.h"
#include "registry/client/names.h"

namespace linnet::registry {
namespace {

constexpr int kMaxReadyVariants = 256;
constexpr int kMaxLabels = 32;

std::vector<std::pair<std::string, std::string>> Violations(const v1::RenewLeaseRequest& request,
                                                            absl::Duration duration) {
  const v1::Worker& worker = request.worker();
  std::vector<std::pair<std::string, std::string>> violations;
  if (!ParseWorkerName(worker.name()).ok()) violations.emplace_back("worker.name", "must be workers/{worker}");
  if (request.release()) return violations;
  if (duration <= absl::ZeroDuration() || duration > LeaseTable::kMaxLease) {
    violations.emplace_back("duration",
                            base::StrCat("must be above 0 and at most 60 s, is ", absl::FormatDuration(duration)));
  }
  if (worker.address().size() > 255 || !base::ParseHostPort(worker.address()).ok()) {
    violations.emplace_back("worker.address", "must be host:port");
  }
  if (!worker.profile().empty() && !ParseDeviceProfileName(worker.profile()).ok()) {
    violations.emplace_back("worker.profile", "must be deviceProfiles/{profile} or empty");
  }
  if (worker.ready_variants_size() > kMaxReadyVariants) {
    violations.emplace_back("worker.ready_variants", base::StrCat("must have at most ", kMaxReadyVariants));
  }
  for (const std::string& variant : worker.ready_variants()) {
    if (ParseVariantName(variant).ok()) continue;
    violations.emplace_back("worker.ready_variants", "each must be models/{model}/variants/{variant}");
    break;
  }
  if (worker.labels().size() > kMaxLabels) {
    violations.emplace_back("worker.labels", base::StrCat("must have at most ", kMaxLabels, " entries"));
  }
  for (const auto& [key, value] : worker.labels()) {
    if (!key.empty() && key.size() <= 63 && value.size() <= 63) continue;
    violations.emplace_back("worker.labels", "keys must have 1 to 63 bytes and values at most 63");
    break;
  }
  if (worker.version().size() > 63) violations.emplace_back("worker.version", "must have at most 63 bytes");
  if (worker.state() != "STARTING" && worker.state() != "READY" && worker.state() != "DRAINING") {
    violations.emplace_back("worker.state", "must be STARTING, READY or DRAINING");
  }
  return violations;
}

}  // namespace

absl::StatusOr<v1::RenewLeaseResponse> LeaseTable::Renew(const v1::RenewLeaseRequest& request) {
  const absl::Duration duration =
      absl::Seconds(request.duration().seconds()) + absl::Nanoseconds(request.duration().nanos());
  if (const auto violations = Violations(request, duration); !violations.empty()) return base::FieldErrors(violations);

  v1::RenewLeaseResponse response;
  base::MutexLock lock(&mu_);
  Expire();
  if (request.release()) {
    leases_.erase(request.worker().name());
    return response;
  }
  if (!leases_.contains(request.worker().name()) && leases_.size() >= kMaxWorkers) {
    return base::Error(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED",
                       base::StrCat("this registry knows ", leases_.size(), " workers, the most it takes"));
  }
  Lease& lease = leases_[request.worker().name()];
  lease.worker = request.worker();
  lease.expires_ns = clock_->MonotonicNs() + absl::ToInt64Nanoseconds(duration);
  const absl::Time expires = clock_->WallNow() + duration;
  lease.worker.mutable_lease_expire_time()->set_seconds(absl::ToUnixSeconds(expires));
  // Two renewals may be lost before the lease is.
  const int64_t renew_ms = std::max<int64_t>(1, absl::ToInt64Milliseconds(duration) / 3);
  response.mutable_renew_after()->set_seconds(renew_ms / 1000);
  response.mutable_renew_after()->set_nanos(static_cast<int32_t>(renew_ms % 1000 * 1'000'000));
  return response;
}

v1::ListWorkersResponse LeaseTable::List() {
  v1::ListWorkersResponse response;
  response.set_settling(clock_->Since(start_ns_) < kMaxLease);
  base::MutexLock lock(&mu_);
  Expire();
  for (const auto& [name, lease] : leases_) *response.add_workers() = lease.worker;
  return response;
}

size_t LeaseTable::size() {
  base::MutexLock lock(&mu_);
  Expire();
  return leases_.size();
}

void LeaseTable::Expire() {
  const int64_t now = clock_->MonotonicNs();
  std::erase_if(leases_, [now](const auto& entry) { return entry.second.expires_ns <= now; });
}

}  // namespace linnet::registry
