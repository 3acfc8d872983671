// The worker's metrics, all of them. Labels are bounded: `variant` is a served variant's name (the first kMaxVariants
// of a process's life, then "other"), the rest are enumerated.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "linnet/v1/generation.pb.h"
#include "linnet/worker/v1/worker.pb.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace linnet::worker {

// "stop", "stop_text", "length", "context"
std::string_view FinishReasonLabel(linnet::v1::FinishReason reason);

// Thread-safe.
class WorkerMetrics {
 public:
  static constexpr size_t kMaxVariants = 64;

  // What requests of one variant add to. Lives as long as the metrics.
  struct Variant {
    prometheus::Counter& prompt_tokens;
    prometheus::Counter& generation_tokens;
    prometheus::Histogram& time_to_first_token;
    prometheus::Histogram& inter_token_latency;
    prometheus::Histogram& e2e_latency;
    prometheus::Histogram& queue_time;
    prometheus::Histogram& prefill_time;
    prometheus::Histogram& decode_time;
    prometheus::Gauge& running;
    prometheus::Gauge& waiting;
    prometheus::Gauge& kv_cache_usage;
    std::map<v1::VariantState, prometheus::Gauge*> states;
    std::string label;
  };

  WorkerMetrics();

  const std::shared_ptr<prometheus::Registry>& registry() const { return registry_; }
  Variant& For(const std::string& variant);
  void CountSuccess(const Variant& variant, linnet::v1::FinishReason reason);
  // `variant`: nullptr where the request named none that is served.
  void CountFailure(const Variant* variant, absl::StatusCode code);
  prometheus::Counter& slow_readers() { return slow_readers_; }

  // Sets the gauges. `weight_bytes`, `kv_bytes`: over all variants that are loaded.
  void Update(const std::vector<v1::VariantStatus>& statuses, uint64_t weight_bytes, uint64_t kv_bytes);
  // Of the packed cache: loads so far that found their weights there and that did not, and its size. One thread.
  void UpdatePackedCache(uint64_t hits, uint64_t misses, uint64_t bytes);

 private:
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  prometheus::Family<prometheus::Gauge>& running_;
  prometheus::Family<prometheus::Gauge>& waiting_;
  prometheus::Family<prometheus::Gauge>& kv_cache_usage_;
  prometheus::Family<prometheus::Counter>& prompt_tokens_;
  prometheus::Family<prometheus::Counter>& generation_tokens_;
  prometheus::Family<prometheus::Histogram>& time_to_first_token_;
  prometheus::Family<prometheus::Histogram>& inter_token_latency_;
  prometheus::Family<prometheus::Histogram>& e2e_latency_;
  prometheus::Family<prometheus::Histogram>& queue_time_;
  prometheus::Family<prometheus::Histogram>& prefill_time_;
  prometheus::Family<prometheus::Histogram>& decode_time_;
  prometheus::Family<prometheus::Counter>& success_;
  prometheus::Family<prometheus::Counter>& failure_;
  prometheus::Family<prometheus::Gauge>& memory_;
  prometheus::Family<prometheus::Gauge>& state_;
  prometheus::Counter& slow_readers_;
  prometheus::Family<prometheus::Counter>& packed_loads_;
  prometheus::Counter& packed_hits_;
  prometheus::Counter& packed_misses_;
  prometheus::Gauge& packed_bytes_;

  base::Mutex mu_;
  std::map<std::string, std::unique_ptr<Variant>> variants_ ABSL_GUARDED_BY(mu_);
};

}  // namespace linnet::worker
