// What a model will take, computed before anything is loaded, and the refusal where it does not fit.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "base/memory.h"
#include "kernels/matrix.h"
#include "worker/model/description.h"
#include "worker/model/weights.h"

namespace linnet::worker {

struct MemoryPlan {
  uint64_t weights_bytes = 0;       // packed; f32 in reference precision
  uint64_t scratch_bytes = 0;       // activations and logits of one step
  uint64_t largest_file_bytes = 0;  // of a tensor: those pages that are resident while it is packed
  uint64_t total() const { return weights_bytes + scratch_bytes + largest_file_bytes; }
};

// What a process that runs models takes without any: code, threads, connections.
inline constexpr uint64_t kProcessBytes = 48 << 20;

MemoryPlan PlanMemory(const ModelDescription& model, std::span<const TensorBinding> bindings,
                      kernels::Precision precision, int64_t max_step_tokens);

// RESOURCE_EXHAUSTED OUT_OF_MEMORY with every number of the plan. metadata: needed_bytes, available_bytes.
absl::Status CheckFits(const MemoryPlan& plan, const base::MemoryBudget& budget, std::string_view path);

// "1.5 GiB", "94 MiB"
std::string FormatBytes(uint64_t bytes);

}  // namespace linnet::worker
