// Which variants this worker should serve: a pure function of what the registry says, what the operator wants and what
// the machine has. Nothing is loaded that the plan has not found room for.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/dtype.h"
#include "registry/client/snapshot.h"

namespace linnet::worker {

// What one variant takes in memory. The KV cache is for all requests of the variant together.
struct VariantMemory {
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t scratch_bytes = 0;
  uint64_t total() const { return weight_bytes + kv_bytes + scratch_bytes; }
  bool operator==(const VariantMemory&) const = default;
};
// "3.1 GiB (weights 1.9 GiB + KV cache 0.9 GiB + scratch 0.3 GiB)"
std::string Describe(const VariantMemory& memory);

struct ServingChoice {
  std::string variant;  // full name
  std::string digest;   // of its main blob
  uint32_t context_tokens = 0;
  uint64_t kv_cache_tokens = 0;
  VariantMemory memory;
};

struct ServingRefusal {
  std::string reference;  // what was wanted
  std::string variant;    // full name; empty where the reference names nothing
  absl::Status why;
};

struct ServingPlan {
  std::map<std::string, ServingChoice> serve;  // by variant name
  std::vector<ServingRefusal> refused;         // only of references that end up with no variant
};

struct ServingInputs {
  const registry::RegistrySnapshot* snapshot = nullptr;
  // "{model}", "{model}@{alias}" or "{model}/{variant}"; empty: every model of the snapshot.
  std::vector<std::string> wanted;
  // For all variants together, with what those in `serving` take already.
  uint64_t memory_bytes = 0;
  std::vector<std::string> isa_features;
  uint32_t context_tokens = 0;   // 0: min(4096, the model's)
  uint64_t kv_cache_tokens = 0;  // 0: 4 x context, down to one context where memory is short
  kernels::DType kv_type = kernels::DType::kF16;
  uint32_t max_running_requests = 16;
  uint32_t step_token_budget = 512;
  // Variants in the registry's order (Resolve), best first, by reference. Without: the largest that fits.
  std::map<std::string, std::vector<std::string>> ranking;
  // Variants that are loaded now: kept as long as they serve what is wanted, so that a plan does not flap.
  std::map<std::string, ServingChoice> serving;
};

inline constexpr uint32_t kDefaultContextTokens = 4096;

ServingPlan PlanServing(const ServingInputs& inputs);

// The blob that holds the weights: the one with role "main", else the only one; nullptr: none.
const registry::v1::BlobRef* MainBlob(const registry::v1::Variant& variant);

}  // namespace linnet::worker
