#include "tools/linnet/model_plan.h"

#include <algorithm>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/client/variant_memory.h"
#include "registry/resolve/resolve.h"
#include "tools/linnet/describe_file.h"
#include "tools/linnet/model_outline.h"
#include "worker/model/family.h"
#include "worker/model/kv_cache.h"
#include "worker/model/memory_plan.h"
#include "worker/model/weights.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;
using worker::ModelDescription;

constexpr int64_t kStepTokens = registry::kDefaultStepTokens;

// The context, and what a sequence of that length keeps.
absl::Status PlanContext(const ModelDescription& description, const PlanOptions& options, ModelPlan* plan) {
  const int64_t longest = description.context_tokens;
  if (longest > 0 && options.context_tokens > longest) {
    return base::FieldErrors({{"--context", base::StrCat("is ", options.context_tokens, ", but the model's context is ",
                                                         longest, " tokens")}});
  }
  v1::Constraints constraints;
  constraints.set_context_tokens(static_cast<uint32_t>(options.context_tokens));
  plan->context_tokens = registry::ContextTokens(plan->architecture, constraints);
  plan->kv_type = options.kv_type;
  // The cache itself: it takes only address space until tokens come.
  LINNET_ASSIGN_OR_RETURN(const auto cache, worker::KvCache::Create(description, options.kv_type,
                                                                    worker::KvCache::BlocksFor(plan->context_tokens),
                                                                    {.sequences = 1, .step_tokens = kStepTokens}));
  plan->kv_bytes = static_cast<uint64_t>(cache->bytes());
  return absl::OkStatus();
}

// As much of a description as the KV cache is sized from.
ModelDescription ShapeOf(const v1::Architecture& architecture) {
  ModelDescription shape;
  shape.context_tokens = architecture.context_tokens();
  for (const v1::LayerShape& stored : architecture.layer_shapes()) {
    worker::LayerDescription layer;
    layer.attention.kv_heads = static_cast<int>(stored.kv_heads());
    layer.attention.head_dim = static_cast<int>(stored.head_dim());
    layer.attention.value_dim = static_cast<int>(stored.value_dim() > 0 ? stored.value_dim() : stored.head_dim());
    layer.attention.window = static_cast<int64_t>(stored.window());
    if (stored.state_floats() > 0) layer.recurrent = {.width = static_cast<int>(stored.state_floats()), .taps = 1};
    shape.layers.push_back(layer);
  }
  return shape;
}

}  // namespace

absl::StatusOr<ModelPlan> PlanFile(const worker::GgufFile& file, const PlanOptions& options) {
  LINNET_ASSIGN_OR_RETURN(const ModelDescription description, worker::DescribeModel(file));
  LINNET_ASSIGN_OR_RETURN(const auto bindings, worker::BindTensors(file, description));
  const worker::MemoryPlan memory = worker::PlanMemory(description, bindings, kernels::Precision::kFast, kStepTokens);
  LINNET_ASSIGN_OR_RETURN(
      FileDescription described,
      DescribeFile(file, description, memory.scratch_bytes + worker::kProcessBytes, {.model = "", .variant = ""}));
  ModelPlan plan;
  plan.architecture = std::move(*described.model.mutable_architecture());
  plan.variant = std::move(described.variant);
  plan.weights_bytes = memory.weights_bytes;
  plan.scratch_bytes = memory.scratch_bytes;
  plan.loading_bytes = memory.largest_file_bytes;
  plan.process_bytes = worker::kProcessBytes;
  LINNET_RETURN_IF_ERROR(PlanContext(description, options, &plan));
  return plan;
}

absl::StatusOr<ModelPlan> PlanQuantized(const worker::GgufFile& source, const QuantizeFormat& format,
                                        const PlanOptions& options) {
  LINNET_ASSIGN_OR_RETURN(const auto outline, QuantizedOutline(source, format));
  return PlanFile(outline->file(), options);
}

absl::StatusOr<ModelPlan> PlanVariant(const v1::Architecture& architecture, const v1::Variant& variant,
                                      const PlanOptions& options) {
  // Planned when it was imported.
  const uint64_t besides = variant.requirements().scratch_bytes();
  if (architecture.layer_shapes().empty() || besides <= worker::kProcessBytes) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "STATE_CONFLICT",
                       base::StrCat(variant.name(),
                                    ": the registry does not know the shape of its layers, or what a step takes; "
                                    "import the file again"),
                       {{"resource", variant.name()}});
  }
  ModelPlan plan;
  plan.architecture = architecture;
  plan.variant = variant;
  plan.weights_bytes = variant.weight_bytes();
  plan.scratch_bytes = besides - worker::kProcessBytes;
  plan.loading_bytes = std::min<uint64_t>(variant.weight_bytes(), kernels::Matrix::kMostUnreleasedBytes);
  plan.process_bytes = worker::kProcessBytes;
  LINNET_RETURN_IF_ERROR(PlanContext(ShapeOf(architecture), options, &plan));
  return plan;
}

v1::ResolveResponse FitDevice(const ModelPlan& plan, const v1::DeviceProfile& profile) {
  v1::Variant variant = plan.variant;
  variant.set_weight_bytes(plan.weights_bytes);
  const auto context = static_cast<uint64_t>(plan.context_tokens);
  variant.set_kv_bytes_per_token((plan.kv_bytes + context - 1) / context);
  variant.mutable_requirements()->set_scratch_bytes(plan.scratch_bytes + plan.loading_bytes + plan.process_bytes);
  v1::Architecture architecture = plan.architecture;
  architecture.clear_layer_shapes();  // from which Resolve would take the KV cache
  v1::Constraints constraints;
  constraints.set_context_tokens(static_cast<uint32_t>(plan.context_tokens));
  return registry::Resolve(architecture, {&variant, 1}, profile, constraints, 0);
}

}  // namespace linnet::cli
