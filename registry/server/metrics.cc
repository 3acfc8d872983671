#include "registry/server/metrics.h"

#include <array>
#include <utility>

#include "base/metrics.h"

namespace linnet::registry {
namespace {

std::string CodeName(grpc::StatusCode code) {
  constexpr std::array<const char*, 17> kNames = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  const size_t index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : "UNKNOWN";
}

prometheus::Gauge& Gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}
prometheus::Counter& Counter(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

Metrics::Metrics() : Metrics(std::make_shared<prometheus::Registry>()) {}

Metrics::Metrics(std::shared_ptr<prometheus::Registry> registry)
    : revision(Gauge(*registry, "linnet_registry_revision", "Last committed revision.")),
      database_bytes(
          Gauge(*registry, "linnet_registry_database_bytes", "Size of the database's files and memory tables.")),
      blob_bytes(Gauge(*registry, "linnet_registry_blob_bytes", "Size of complete and partial blobs.")),
      uploads(Gauge(*registry, "linnet_registry_uploads", "Uploads running.")),
      uploaded_bytes(Counter(*registry, "linnet_registry_uploaded_bytes_total", "Bytes received in uploads.")),
      downloaded_bytes(Counter(*registry, "linnet_registry_downloaded_bytes_total", "Bytes sent in downloads.")),
      watchers(Gauge(*registry, "linnet_registry_watchers", "Open Watch streams.")),
      workers(Gauge(*registry, "linnet_registry_workers", "Workers with a lease.")),
      registry_(std::move(registry)),
      rpcs_(prometheus::BuildCounter()
                .Name("linnet_registry_rpcs_total")
                .Help("Finished calls by method and status code.")
                .Register(*registry_)),
      rpc_seconds_(prometheus::BuildHistogram()
                       .Name("linnet_registry_rpc_seconds")
                       .Help("Duration of calls by method, Watch excepted.")
                       .Register(*registry_)) {}

void Metrics::CountRpc(std::string_view method, grpc::StatusCode code) {
  rpcs_.Add({{"method", std::string(method)}, {"code", CodeName(code)}}).Increment();
}

void Metrics::ObserveRpc(std::string_view method, absl::Duration duration) {
  rpc_seconds_.Add({{"method", std::string(method)}}, base::LatencyBuckets()).Observe(absl::ToDoubleSeconds(duration));
}

}  // namespace linnet::registry
