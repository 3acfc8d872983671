// Every metric of linnet-registry. Labels are bounded: methods are those of the two services, codes the canonical 17.
//
//   linnet_registry_rpcs_total{method,code}         counter    finished calls
//   linnet_registry_rpc_seconds{method}             histogram  duration of unary calls and transfers (not Watch)
//   linnet_registry_revision                        gauge      last committed revision
//   linnet_registry_database_bytes                  gauge      RocksDB's files and memory tables
//   linnet_registry_blob_bytes                      gauge      complete and partial blobs on the disk
//   linnet_registry_uploads                         gauge      uploads running
//   linnet_registry_uploaded_bytes_total            counter    bytes received in uploads
//   linnet_registry_downloaded_bytes_total          counter    bytes sent in downloads
//   linnet_registry_watchers                        gauge      open Watch streams
//   linnet_registry_workers                         gauge      workers with a lease
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "grpcpp/support/status.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace linnet::registry {

// Thread-safe.
class Metrics {
 public:
  Metrics();

  void CountRpc(std::string_view method, grpc::StatusCode code);
  void ObserveRpc(std::string_view method, absl::Duration duration);

  prometheus::Gauge& revision;
  prometheus::Gauge& database_bytes;
  prometheus::Gauge& blob_bytes;
  prometheus::Gauge& uploads;
  prometheus::Counter& uploaded_bytes;
  prometheus::Counter& downloaded_bytes;
  prometheus::Gauge& watchers;
  prometheus::Gauge& workers;

  const std::shared_ptr<prometheus::Registry>& registry() const { return registry_; }

 private:
  explicit Metrics(std::shared_ptr<prometheus::Registry> registry);
  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Counter>& rpcs_;
  prometheus::Family<prometheus::Histogram>& rpc_seconds_;
};

}  // namespace linnet::registry
