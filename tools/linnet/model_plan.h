// What a model will take, from its file or the outline of one, by the code that plans memory when it is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "linnet/registry/v1/registry.pb.h"
#include "linnet/registry/v1/resources.pb.h"
#include "tools/linnet/quantize_plan.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::cli {

struct PlanOptions {
  int64_t context_tokens = 0;  // 0: as Resolve plans, min(4096, the model's)
  kernels::DType kv_type = kernels::DType::kF16;
};

struct ModelPlan {
  registry::v1::Architecture architecture;
  registry::v1::Variant variant;  // as the registry would be told, without its blob's digest
  int64_t context_tokens = 0;
  kernels::DType kv_type = kernels::DType::kF16;
  uint64_t weights_bytes = 0;  // resident
  uint64_t kv_bytes = 0;       // of the whole context
  uint64_t scratch_bytes = 0;  // activations and logits of a step
  uint64_t loading_bytes = 0;  // pages of the file while weights are packed
  uint64_t process_bytes = 0;
  uint64_t total_bytes() const { return weights_bytes + kv_bytes + scratch_bytes + loading_bytes + process_bytes; }
};

// INVALID_ARGUMENT INVALID_MODEL_FILE as loading says it; INVALID_FIELD where the context is longer than the model's.
absl::StatusOr<ModelPlan> PlanFile(const worker::GgufFile& file, const PlanOptions& options);

// The same of what `format` would make of it.
absl::StatusOr<ModelPlan> PlanQuantized(const worker::GgufFile& source, const QuantizeFormat& format,
                                        const PlanOptions& options);

// Of a variant of the registry, as far as that knows it: its weights as stored.
absl::StatusOr<ModelPlan> PlanVariant(const registry::v1::Architecture& architecture,
                                      const registry::v1::Variant& variant, const PlanOptions& options);

// Whether it fits a device, and at which predicted speeds: one fit or one refusal.
registry::v1::ResolveResponse FitDevice(const ModelPlan& plan, const registry::v1::DeviceProfile& profile);

}  // namespace linnet::cli
