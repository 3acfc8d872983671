#include "worker/server/metrics.h"

#include <set>

#include "absl/strings/ascii.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "base/strings.h"
#include "worker/server/lifecycle.h"

namespace linnet::worker {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

std::string StateLabel(v1::VariantState state) { return absl::AsciiStrToLower(base::ToAbsl(StateName(state))); }

constexpr v1::VariantState kStates[] = {v1::VARIANT_STATE_FETCHING, v1::VARIANT_STATE_LOADING, v1::VARIANT_STATE_READY,
                                        v1::VARIANT_STATE_UNLOADING, v1::VARIANT_STATE_FAILED};

std::string CodeLabel(absl::StatusCode code) { return absl::AsciiStrToLower(absl::StatusCodeToString(code)); }

}  // namespace

std::string_view FinishReasonLabel(linnet::v1::FinishReason reason) {
  switch (reason) {
    case linnet::v1::FINISH_REASON_STOP:
      return "stop";
    case linnet::v1::FINISH_REASON_STOP_TEXT:
      return "stop_text";
    case linnet::v1::FINISH_REASON_LENGTH:
      return "length";
    case linnet::v1::FINISH_REASON_CONTEXT:
      return "context";
    default:
      return "unspecified";
  }
}

WorkerMetrics::WorkerMetrics()
    : running_(BuildGauge().Name("linnet_num_requests_running").Help("Requests in the batch").Register(*registry_)),
      waiting_(BuildGauge().Name("linnet_num_requests_waiting").Help("Requests in the queue").Register(*registry_)),
      kv_cache_usage_(BuildGauge()
                          .Name("linnet_kv_cache_usage_ratio")
                          .Help("Blocks of the KV cache in use, of all")
                          .Register(*registry_)),
      prompt_tokens_(BuildCounter()
                         .Name("linnet_prompt_tokens_total")
                         .Help("Prompt tokens of finished requests")
                         .Register(*registry_)),
      generation_tokens_(
          BuildCounter().Name("linnet_generation_tokens_total").Help("Tokens generated").Register(*registry_)),
      time_to_first_token_(BuildHistogram()
                               .Name("linnet_time_to_first_token_seconds")
                               .Help("From a request's arrival to its first token")
                               .Register(*registry_)),
      inter_token_latency_(BuildHistogram()
                               .Name("linnet_inter_token_latency_seconds")
                               .Help("From one token of a request to its next")
                               .Register(*registry_)),
      e2e_latency_(BuildHistogram()
                       .Name("linnet_e2e_request_latency_seconds")
                       .Help("From a request's arrival to its end")
                       .Register(*registry_)),
      queue_time_(BuildHistogram()
                      .Name("linnet_request_queue_time_seconds")
                      .Help("From admission to the first step that worked on a request")
                      .Register(*registry_)),
      prefill_time_(BuildHistogram()
                        .Name("linnet_request_prefill_time_seconds")
                        .Help("From the first step to the first token")
                        .Register(*registry_)),
      decode_time_(BuildHistogram()
                       .Name("linnet_request_decode_time_seconds")
                       .Help("From the first token to the last")
                       .Register(*registry_)),
      success_(BuildCounter()
                   .Name("linnet_request_success_total")
                   .Help("Requests that ended as they should, by finish reason")
                   .Register(*registry_)),
      failure_(BuildCounter()
                   .Name("linnet_request_failure_total")
                   .Help("Requests that ended with an error, by its code")
                   .Register(*registry_)),
      memory_(
          BuildGauge()
              .Name("linnet_worker_memory_bytes")
              .Help("Memory: of the weights and KV caches that are loaded, and of the process as the system sees it")
              .Register(*registry_)),
      state_(BuildGauge()
                 .Name("linnet_worker_variant_state")
                 .Help("1 for the state that a variant is in")
                 .Register(*registry_)),
      slow_readers_(BuildCounter()
                        .Name("linnet_worker_slow_readers_total")
                        .Help("Requests cancelled because their client did not read")
                        .Register(*registry_)
                        .Add({})),
      packed_loads_(BuildCounter()
                        .Name("linnet_worker_packed_cache_loads_total")
                        .Help("Models loaded, by whether their packed weights were on disk (hit) or were packed (miss)")
                        .Register(*registry_)),
      packed_hits_(packed_loads_.Add({{"result", "hit"}})),
      packed_misses_(packed_loads_.Add({{"result", "miss"}})),
      packed_bytes_(BuildGauge()
                        .Name("linnet_worker_packed_cache_bytes")
                        .Help("Packed weights that are kept on disk")
                        .Register(*registry_)
                        .Add({})) {}

WorkerMetrics::Variant& WorkerMetrics::For(const std::string& variant) {
  base::MutexLock lock(&mu_);
  const std::string label = variants_.contains(variant) || variants_.size() < kMaxVariants ? variant : "other";
  std::unique_ptr<Variant>& slot = variants_[label];
  if (slot == nullptr) {
    const prometheus::Labels labels = {{"variant", label}};
    slot = std::make_unique<Variant>(Variant{
        .prompt_tokens = prompt_tokens_.Add(labels),
        .generation_tokens = generation_tokens_.Add(labels),
        .time_to_first_token = time_to_first_token_.Add(labels, base::LatencyBuckets()),
        .inter_token_latency = inter_token_latency_.Add(labels, base::TokenLatencyBuckets()),
        .e2e_latency = e2e_latency_.Add(labels, base::LatencyBuckets()),
        .queue_time = queue_time_.Add(labels, base::LatencyBuckets()),
        .prefill_time = prefill_time_.Add(labels, base::LatencyBuckets()),
        .decode_time = decode_time_.Add(labels, base::LatencyBuckets()),
        .running = running_.Add(labels),
        .waiting = waiting_.Add(labels),
        .kv_cache_usage = kv_cache_usage_.Add(labels),
        .states = {},
        .label = label,
    });
    for (const v1::VariantState state : kStates) {
      slot->states[state] = &state_.Add({{"variant", label}, {"state", StateLabel(state)}});
    }
  }
  return *slot;
}

void WorkerMetrics::CountSuccess(const Variant& variant, linnet::v1::FinishReason reason) {
  success_.Add({{"variant", variant.label}, {"finish_reason", std::string(FinishReasonLabel(reason))}}).Increment();
}

void WorkerMetrics::CountFailure(const Variant* variant, absl::StatusCode code) {
  failure_.Add({{"variant", variant == nullptr ? "none" : variant->label}, {"code", CodeLabel(code)}}).Increment();
}

void WorkerMetrics::Update(const std::vector<v1::VariantStatus>& statuses, uint64_t weight_bytes, uint64_t kv_bytes) {
  std::set<std::string> seen;
  for (const v1::VariantStatus& status : statuses) {
    Variant& variant = For(status.variant());
    seen.insert(variant.label);
    variant.running.Set(status.running_requests());
    variant.waiting.Set(status.queued_requests());
    variant.kv_cache_usage.Set(
        status.kv_blocks() == 0 ? 0 : static_cast<double>(status.kv_blocks_used()) / status.kv_blocks());
    for (const auto& [state, gauge] : variant.states) gauge->Set(state == status.state() ? 1 : 0);
  }
  {
    base::MutexLock lock(&mu_);
    for (const auto& [label, variant] : variants_) {
      if (seen.contains(label)) continue;
      variant->running.Set(0);
      variant->waiting.Set(0);
      variant->kv_cache_usage.Set(0);
      for (const auto& [state, gauge] : variant->states) gauge->Set(0);
    }
  }
  const base::ProcessMemory memory = base::ReadProcessMemory();
  memory_.Add({{"kind", "weights"}}).Set(static_cast<double>(weight_bytes));
  memory_.Add({{"kind", "kv"}}).Set(static_cast<double>(kv_bytes));
  memory_.Add({{"kind", "resident"}}).Set(static_cast<double>(memory.resident_bytes));
  memory_.Add({{"kind", "peak"}}).Set(static_cast<double>(memory.peak_resident_bytes));
}

void WorkerMetrics::UpdatePackedCache(uint64_t hits, uint64_t misses, uint64_t bytes) {
  packed_hits_.Increment(static_cast<double>(hits) - packed_hits_.Value());
  packed_misses_.Increment(static_cast<double>(misses) - packed_misses_.Value());
  packed_bytes_.Set(static_cast<double>(bytes));
}

}  // namespace linnet::worker
