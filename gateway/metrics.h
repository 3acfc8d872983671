// The gateway's metrics, all of them. Labels are bounded: `model` is a served model's name or "other".
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace linnet::gateway {

enum class Front { kGrpc, kHttp };
std::string_view FrontName(Front front);  // "grpc", "http"

// Thread-safe.
class Metrics {
 public:
  Metrics();
  const std::shared_ptr<prometheus::Registry>& registry() const { return registry_; }

  // `model`: as routed, empty where routing failed.
  void CountRequest(Front front, std::string_view model, absl::StatusCode code);
  void ObserveFirstToken(std::string_view model, double seconds);
  void ObserveInterToken(std::string_view model, double seconds);
  void ObserveRequest(std::string_view model, double seconds);

  prometheus::Gauge& active_requests() { return active_requests_; }
  prometheus::Gauge& http_connections() { return http_connections_; }
  prometheus::Gauge& workers_known() { return workers_known_; }
  prometheus::Gauge& workers_ready() { return workers_ready_; }
  prometheus::Gauge& registry_connected() { return registry_connected_; }
  prometheus::Counter& retries() { return retries_; }

 private:
  // The name itself for the first kMaxModels that come, else "other".
  std::string ModelLabel(std::string_view model);

  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& first_token_;
  prometheus::Family<prometheus::Histogram>& inter_token_;
  prometheus::Family<prometheus::Histogram>& request_latency_;
  prometheus::Gauge& active_requests_;
  prometheus::Gauge& http_connections_;
  prometheus::Gauge& workers_known_;
  prometheus::Gauge& workers_ready_;
  prometheus::Gauge& registry_connected_;
  prometheus::Counter& retries_;
  base::Mutex mu_;
  std::set<std::string> models_ ABSL_GUARDED_BY(mu_);
};

}  // namespace linnet::gateway
