#include "worker/server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "prometheus/text_serializer.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Text(const WorkerMetrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.registry()->Collect());
}

v1::VariantStatus Status(const std::string& name, v1::VariantState state) {
  v1::VariantStatus status;
  status.set_variant(name);
  status.set_state(state);
  status.set_running_requests(3);
  status.set_queued_requests(2);
  status.set_kv_blocks(8);
  status.set_kv_blocks_used(2);
  return status;
}

// Dashboards and autoscalers know these names: a change here is a change for their owners.
TEST(WorkerMetricsTest, NamesAreThese) {
  WorkerMetrics metrics;
  WorkerMetrics::Variant& variant = metrics.For("models/a/variants/b");
  metrics.CountSuccess(variant, linnet::v1::FINISH_REASON_STOP);
  metrics.CountFailure(nullptr, absl::StatusCode::kNotFound);
  metrics.Update({}, 1, 2);
  std::set<std::string> names;
  for (const auto& family : metrics.registry()->Collect()) names.insert(family.name);
  EXPECT_THAT(names, ElementsAre("linnet_e2e_request_latency_seconds", "linnet_generation_tokens_total",
                                 "linnet_inter_token_latency_seconds", "linnet_kv_cache_usage_ratio",
                                 "linnet_num_requests_running", "linnet_num_requests_waiting",
                                 "linnet_prompt_tokens_total", "linnet_request_decode_time_seconds",
                                 "linnet_request_failure_total", "linnet_request_prefill_time_seconds",
                                 "linnet_request_queue_time_seconds", "linnet_request_success_total",
                                 "linnet_time_to_first_token_seconds", "linnet_worker_memory_bytes",
                                 "linnet_worker_packed_cache_bytes", "linnet_worker_packed_cache_loads_total",
                                 "linnet_worker_slow_readers_total", "linnet_worker_variant_state"));
}

TEST(WorkerMetricsTest, GaugesFollowTheStatus) {
  WorkerMetrics metrics;
  metrics.Update({Status("models/a/variants/b", v1::VARIANT_STATE_READY)}, 1000, 500);
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("linnet_num_requests_running{variant=\"models/a/variants/b\"} 3"));
  EXPECT_THAT(text, HasSubstr("linnet_num_requests_waiting{variant=\"models/a/variants/b\"} 2"));
  EXPECT_THAT(text, HasSubstr("linnet_kv_cache_usage_ratio{variant=\"models/a/variants/b\"} 0.25"));
  EXPECT_THAT(text, HasSubstr("state=\"ready\",variant=\"models/a/variants/b\"} 1"));
  EXPECT_THAT(text, HasSubstr("state=\"failed\",variant=\"models/a/variants/b\"} 0"));
  EXPECT_THAT(text, HasSubstr("linnet_worker_memory_bytes{kind=\"weights\"} 1000"));
  EXPECT_THAT(text, HasSubstr("linnet_worker_memory_bytes{kind=\"kv\"} 500"));
  EXPECT_THAT(text, HasSubstr("kind=\"peak\""));
  metrics.Update({}, 0, 0);  // unloaded
  EXPECT_THAT(Text(metrics), HasSubstr("state=\"ready\",variant=\"models/a/variants/b\"} 0"));
  EXPECT_THAT(Text(metrics), HasSubstr("linnet_num_requests_running{variant=\"models/a/variants/b\"} 0"));
}

TEST(WorkerMetricsTest, LabelsAreBounded) {
  WorkerMetrics metrics;
  for (int i = 0; i < 200; ++i) metrics.For("models/a/variants/v" + std::to_string(i));
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("variants/v63\""));
  EXPECT_THAT(text, Not(HasSubstr("variants/v64\"")));
  EXPECT_THAT(text, HasSubstr("variant=\"other\""));
}

TEST(WorkerMetricsTest, CountsByReasonAndCode) {
  WorkerMetrics metrics;
  WorkerMetrics::Variant& variant = metrics.For("models/a/variants/b");
  metrics.CountSuccess(variant, linnet::v1::FINISH_REASON_LENGTH);
  metrics.CountSuccess(variant, linnet::v1::FINISH_REASON_LENGTH);
  metrics.CountFailure(&variant, absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Text(metrics), HasSubstr("finish_reason=\"length\",variant=\"models/a/variants/b\"} 2"));
  EXPECT_THAT(Text(metrics), HasSubstr("code=\"deadline_exceeded\",variant=\"models/a/variants/b\"} 1"));
}

TEST(WorkerMetricsTest, PackedCacheCountsAreTotals) {
  WorkerMetrics metrics;
  metrics.UpdatePackedCache(1, 2, 3000);
  metrics.UpdatePackedCache(4, 2, 5000);
  EXPECT_THAT(Text(metrics), HasSubstr("linnet_worker_packed_cache_loads_total{result=\"hit\"} 4"));
  EXPECT_THAT(Text(metrics), HasSubstr("linnet_worker_packed_cache_loads_total{result=\"miss\"} 2"));
  EXPECT_THAT(Text(metrics), HasSubstr("linnet_worker_packed_cache_bytes 5000"));
}

}  // namespace
}  // namespace linnet::worker
