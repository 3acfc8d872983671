#include "gateway/metrics.h"

#include "base/metrics.h"

namespace linnet::gateway {
namespace {

// A registry may come to know more models over a gateway's life than a Prometheus should.
constexpr size_t kMaxModels = 256;

prometheus::Family<prometheus::Histogram>& Histograms(prometheus::Registry& registry, const char* name,
                                                      const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}
prometheus::Gauge& OneGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

std::string_view FrontName(Front front) { return front == Front::kGrpc ? "grpc" : "http"; }

Metrics::Metrics()
    : requests_(prometheus::BuildCounter()
                    .Name("linnet_gateway_requests_total")
                    .Help("Generation requests that ended, by front (grpc, http), model and canonical status code.")
                    .Register(*registry_)),
      first_token_(Histograms(*registry_, "linnet_gateway_time_to_first_token_seconds",
                              "From a request's arrival to its first text or token.")),
      inter_token_(Histograms(*registry_, "linnet_gateway_inter_token_latency_seconds",
                              "Between the tokens of a request after the first.")),
      request_latency_(Histograms(*registry_, "linnet_gateway_e2e_request_latency_seconds",
                                  "From a request's arrival to its end; those that succeeded.")),
      active_requests_(OneGauge(*registry_, "linnet_gateway_active_requests", "Generation requests that run now.")),
      http_connections_(OneGauge(*registry_, "linnet_gateway_http_connections", "Open HTTP connections.")),
      workers_known_(OneGauge(*registry_, "linnet_gateway_workers", "Workers that the gateway knows of.")),
      workers_ready_(OneGauge(*registry_, "linnet_gateway_workers_ready", "Workers with a variant that is ready.")),
      registry_connected_(
          OneGauge(*registry_, "linnet_gateway_registry_connected", "1 while the registry is being watched, else 0.")),
      retries_(prometheus::BuildCounter()
                   .Name("linnet_gateway_retries_total")
                   .Help("Requests sent to a second worker, the first having failed before anything was sent.")
                   .Register(*registry_)
                   .Add({})) {}

std::string Metrics::ModelLabel(std::string_view model) {
  if (model.empty()) return "other";
  std::string label(model);
  base::MutexLock lock(&mu_);
  if (models_.contains(label)) return label;
  if (models_.size() >= kMaxModels) return "other";
  models_.insert(label);
  return label;
}

void Metrics::CountRequest(Front front, std::string_view model, absl::StatusCode code) {
  requests_
      .Add({{"front", std::string(FrontName(front))},
            {"model", ModelLabel(model)},
            {"code", absl::StatusCodeToString(code)}})
      .Increment();
}

void Metrics::ObserveFirstToken(std::string_view model, double seconds) {
  first_token_.Add({{"model", ModelLabel(model)}}, base::LatencyBuckets()).Observe(seconds);
}
void Metrics::ObserveInterToken(std::string_view model, double seconds) {
  inter_token_.Add({{"model", ModelLabel(model)}}, base::TokenLatencyBuckets()).Observe(seconds);
}
void Metrics::ObserveRequest(std::string_view model, double seconds) {
  request_latency_.Add({{"model", ModelLabel(model)}}, base::LatencyBuckets()).Observe(seconds);
}

}  // namespace linnet::gateway
