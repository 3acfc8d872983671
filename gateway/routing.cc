#include "gateway/routing.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/client/names.h"

namespace linnet::gateway {
namespace {

using registry::ModelReference;
using worker::v1::VariantStatus;

// In an error message; more are counted only.
constexpr size_t kMaxListed = 8;

std::string Quoted(std::string_view reference) { return base::StrCat("model \"", reference, "\""); }

std::string Listed(const std::vector<std::string>& names) {
  if (names.size() <= kMaxListed) return absl::StrJoin(names, ", ");
  return base::StrCat(absl::StrJoin(names.begin(), names.begin() + kMaxListed, ", "), " and ",
                      names.size() - kMaxListed, " more");
}

absl::Status NotFound(std::string_view reference, std::string_view why, const FleetSnapshot& fleet) {
  std::vector<std::string> served;
  for (const v1::ServedModel& model : ServedModels(fleet)) served.push_back(model.model());
  const std::string remedy = served.empty() ? "no model is served now; import one with `linnet model import FILE`"
                                            : base::StrCat("served now: ", Listed(served));
  return base::Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                     base::StrCat(Quoted(reference), " ", why, "; ", remedy), {{"resource", std::string(reference)}});
}

// The variant that an alias names, or what is wrong.
absl::StatusOr<std::string> ResolveAlias(std::string_view reference, const ModelReference& parsed,
                                         const FleetSnapshot& fleet) {
  if (fleet.registry == nullptr) return NotFound(reference, "has no aliases: there is no registry", fleet);
  const auto model = fleet.registry->models.find(registry::ModelName(parsed.model));
  if (model == fleet.registry->models.end()) return NotFound(reference, "does not exist", fleet);
  const auto& aliases = model->second.aliases();
  if (const auto alias = aliases.find(parsed.alias); alias != aliases.end()) return alias->second;
  std::vector<std::string> known;
  for (const auto& [name, variant] : aliases) known.push_back(name);
  std::sort(known.begin(), known.end());
  return NotFound(reference,
                  known.empty() ? "does not exist: the model has no aliases"
                                : base::StrCat("does not exist: the model's aliases are ", Listed(known)),
                  fleet);
}

bool RegistryKnows(const FleetSnapshot& fleet, const std::string& model, const std::string& variant) {
  if (fleet.registry == nullptr) return false;
  if (variant.empty()) return fleet.registry->models.contains(registry::ModelName(model));
  return fleet.registry->variants.contains(registry::VariantName(model, variant));
}

bool Matches(const VariantStatus& status, const std::string& model, const std::string& variant) {
  absl::StatusOr<registry::VariantId> id = registry::ParseVariantName(status.variant());
  return id.ok() && id->model == model && (variant.empty() || id->variant == variant);
}

bool QueueFull(const VariantStatus& s, uint32_t in_flight) {
  if (s.max_queued_requests() == 0) return false;  // not told: let the worker decide
  return s.queued_requests() >= s.max_queued_requests() ||
         in_flight >= uint64_t{s.max_queued_requests()} + s.max_running_requests();
}

using Load = std::tuple<double, uint32_t, double, uint64_t>;

Load LoadOf(const VariantStatus& s, uint32_t in_flight, uint64_t tie) {
  const uint32_t requests = std::max(s.queued_requests() + s.running_requests(), in_flight);
  const double slots = std::max<uint32_t>(1, s.max_running_requests());
  const double kv_use = s.kv_blocks() == 0 ? 0.0 : static_cast<double>(s.kv_blocks_used()) / s.kv_blocks();
  return {requests / slots, s.pending_prefill_tokens(), kv_use, tie};
}

// A different order of equals for each request (the finalizer of SplitMix64).
uint64_t Mix(uint64_t random, uint64_t index) {
  uint64_t z = random + (index + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// What a worker that has the variant but cannot take the request is doing.
std::string Excuse(const WorkerView& worker, const VariantStatus& s, bool excluded) {
  const std::string name = worker.status.worker().empty() ? worker.address : worker.status.worker();
  if (!worker.reachable) return base::StrCat(name, " cannot be reached");
  if (excluded) return base::StrCat(name, " failed this request");
  if (worker.status.draining()) return base::StrCat(name, " is stopping");
  switch (s.state()) {
    case worker::v1::VARIANT_STATE_FETCHING:
      return base::StrCat(name, " is fetching it");
    case worker::v1::VARIANT_STATE_LOADING:
      return base::StrCat(name, " is loading it");
    case worker::v1::VARIANT_STATE_UNLOADING:
      return base::StrCat(name, " is unloading it");
    case worker::v1::VARIANT_STATE_FAILED:
      return base::StrCat(name, " failed to load it: ", s.error());
    default:
      return base::StrCat(name, " is not ready");
  }
}

}  // namespace

absl::StatusOr<RouteChoice> Route(const RouteRequest& request, const FleetSnapshot& fleet) {
  absl::StatusOr<ModelReference> reference = registry::ParseModelReference(request.model);
  if (!reference.ok()) return base::FieldErrors({{"model", std::string(reference.status().message())}});
  std::string variant = reference->variant;
  if (!reference->alias.empty()) {
    LINNET_ASSIGN_OR_RETURN(variant, ResolveAlias(request.model, *reference, fleet));
  }

  std::optional<std::pair<Load, RouteChoice>> best;
  bool any_full = false;
  std::vector<std::string> excuses;
  for (size_t i = 0; i < fleet.workers.size(); ++i) {
    const WorkerView& worker = *fleet.workers[i];
    const bool excluded = request.excluded.contains(worker.address);
    const uint32_t in_flight = i < request.in_flight.size() ? request.in_flight[i] : 0;
    for (const VariantStatus& s : worker.status.variants()) {
      if (!Matches(s, reference->model, variant)) continue;
      if (!worker.reachable || excluded || worker.status.draining() || s.state() != worker::v1::VARIANT_STATE_READY) {
        excuses.push_back(Excuse(worker, s, excluded));
        continue;
      }
      if (!request.ignore_queue && QueueFull(s, in_flight)) {
        any_full = true;
        continue;
      }
      Load load = LoadOf(s, in_flight, Mix(request.random, i));
      if (best.has_value() && best->first <= load) continue;
      best = {load, RouteChoice{fleet.workers[i], s.variant(), reference->model}};
    }
  }
  if (best.has_value()) return std::move(best->second);
  if (any_full) {
    return base::WithRetryAfter(
        base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                    base::StrCat("every worker that serves ", Quoted(request.model), " has a full queue; try again")),
        absl::Seconds(1));
  }
  if (excuses.empty() && !RegistryKnows(fleet, reference->model, variant)) {
    return NotFound(request.model, "does not exist", fleet);
  }
  const std::string why = excuses.empty() ? "no worker has it: is a worker running, and does the model fit its memory? "
                                            "(`linnet worker ls`, `linnet resolve`)"
                                          : Listed(excuses);
  return base::WithRetryAfter(base::Error(absl::StatusCode::kUnavailable, "NO_READY_WORKER",
                                          base::StrCat(Quoted(request.model), " is not ready on any worker: ", why)),
                              absl::Seconds(2));
}

std::vector<v1::ServedModel> ServedModels(const FleetSnapshot& fleet) {
  std::map<std::string, v1::ServedModel> models;
  for (const auto& worker : fleet.workers) {
    if (!worker->reachable || worker->status.draining()) continue;
    std::set<std::string> counted;  // a worker with two variants of a model is one worker
    for (const VariantStatus& s : worker->status.variants()) {
      if (s.state() != worker::v1::VARIANT_STATE_READY) continue;
      absl::StatusOr<registry::VariantId> id = registry::ParseVariantName(s.variant());
      if (!id.ok()) continue;
      v1::ServedModel& model = models[id->model];
      model.set_model(id->model);
      if (std::find(model.variants().begin(), model.variants().end(), s.variant()) == model.variants().end()) {
        model.add_variants(s.variant());
      }
      model.set_context_tokens(std::max(model.context_tokens(), s.context_tokens()));
      if (counted.insert(id->model).second) model.set_ready_workers(model.ready_workers() + 1);
    }
  }
  std::vector<v1::ServedModel> result;
  for (auto& [name, model] : models) {
    std::sort(model.mutable_variants()->begin(), model.mutable_variants()->end());
    result.push_back(std::move(model));
  }
  return result;
}

}  // namespace linnet::gateway
