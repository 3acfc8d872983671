// Which worker and which variant answer a request: a pure function of the request and a snapshot of the fleet.
//
//   {model}/{variant}  that variant
//   {model}@{alias}    the variant that the registry's alias names
//   {model}            any variant of the model that is ready somewhere
//
// Among the ready workers that serve it, the least loaded one: by requests (queued and running, relative to what runs
// at once), then by prompt tokens that wait for prefill, then by KV cache use, then by chance.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/fleet.h"
#include "linnet/v1/generation.pb.h"

namespace linnet::gateway {

struct RouteRequest {
  // As the client wrote it.
  std::string_view model;
  // Addresses of workers that have failed this request already.
  std::set<std::string> excluded;
  // Requests of this gateway in flight, one per snapshot.workers; shorter: 0 for the rest.
  std::vector<uint32_t> in_flight;
  // Breaks ties.
  uint64_t random = 0;
  // The call takes no place in a queue (CountTokens).
  bool ignore_queue = false;
};

struct RouteChoice {
  std::shared_ptr<const WorkerView> worker;
  // "models/{model}/variants/{variant}"
  std::string variant;
  // "{model}"
  std::string model;
};

// INVALID_ARGUMENT     INVALID_FIELD: `model` is malformed
// NOT_FOUND            MODEL_NOT_FOUND: neither the registry nor a worker knows it; says what is served
// UNAVAILABLE          NO_READY_WORKER: known, but nowhere ready now (with RetryInfo)
// RESOURCE_EXHAUSTED   QUEUE_FULL: every ready worker's queue is full (with RetryInfo)
absl::StatusOr<RouteChoice> Route(const RouteRequest& request, const FleetSnapshot& fleet);

// The models that a ready worker serves, by name. created_seconds is left at 0.
std::vector<v1::ServedModel> ServedModels(const FleetSnapshot& fleet);

}  // namespace linnet::gateway
