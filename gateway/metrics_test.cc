#include "gateway/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/strings.h"
#include "prometheus/text_serializer.h"

namespace linnet::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Dashboards and alerts go by these names: they may grow, not change.
TEST(MetricsTest, NamesAreThose) {
  Metrics metrics;
  metrics.CountRequest(Front::kGrpc, "smol", absl::StatusCode::kOk);
  metrics.ObserveFirstToken("smol", 0.1);
  metrics.ObserveInterToken("smol", 0.1);
  metrics.ObserveRequest("smol", 0.1);
  std::set<std::string> names;
  for (const prometheus::MetricFamily& family : metrics.registry()->Collect()) names.insert(family.name);
  EXPECT_THAT(names, ElementsAre("linnet_gateway_active_requests", "linnet_gateway_e2e_request_latency_seconds",
                                 "linnet_gateway_http_connections", "linnet_gateway_inter_token_latency_seconds",
                                 "linnet_gateway_registry_connected", "linnet_gateway_requests_total",
                                 "linnet_gateway_retries_total", "linnet_gateway_time_to_first_token_seconds",
                                 "linnet_gateway_workers", "linnet_gateway_workers_ready"));
}

TEST(MetricsTest, ARequestIsCountedByFrontModelAndCode) {
  Metrics metrics;
  metrics.CountRequest(Front::kHttp, "smol", absl::StatusCode::kUnavailable);
  metrics.CountRequest(Front::kHttp, "", absl::StatusCode::kNotFound);
  const std::string text = prometheus::TextSerializer().Serialize(metrics.registry()->Collect());
  EXPECT_THAT(text, HasSubstr(R"(linnet_gateway_requests_total{code="UNAVAILABLE",front="http",model="smol"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(linnet_gateway_requests_total{code="NOT_FOUND",front="http",model="other"} 1)"));
}

TEST(MetricsTest, ModelsBeyondTheBoundShareALabel) {
  Metrics metrics;
  for (int i = 0; i < 1000; ++i) {
    metrics.CountRequest(Front::kGrpc, base::StrCat("m", i), absl::StatusCode::kOk);
  }
  for (const prometheus::MetricFamily& family : metrics.registry()->Collect()) {
    if (family.name == "linnet_gateway_requests_total") {
      EXPECT_EQ(family.metric.size(), 257u);
    }
  }
  const std::string text = prometheus::TextSerializer().Serialize(metrics.registry()->Collect());
  EXPECT_THAT(text, HasSubstr(R"(model="other"} 744)"));
}

}  // namespace
}  // namespace linnet::gateway
