#include "tools/linnet/model_outline.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "tools/linnet/quantize_file.h"
#include "worker/model/family.h"
#include "worker/model/gguf_names.h"
#include "worker/model/weights.h"

namespace linnet::cli {
namespace {

using catalog::v1::Model;
using kernels::DType;
using worker::GgufTensorPlan;
using worker::TensorRole;

constexpr uint32_t kF16FileType = 1;

void SetPerLayer(worker::GgufMetadata& metadata, const std::string& key,
                 const google::protobuf::RepeatedField<uint32_t>& values, uint32_t factor) {
  if (values.size() == 1) return metadata.SetU32(key, values[0] * factor);
  std::vector<int32_t> each;
  for (const uint32_t value : values) each.push_back(static_cast<int32_t>(value * factor));
  metadata.SetI32s(key, each);
}

worker::GgufMetadata MetadataOf(const Model& model) {
  worker::GgufMetadata metadata;
  const std::string& architecture = model.architecture();
  const auto key = [&](std::string_view name) { return base::StrCat(architecture, ".", name); };
  metadata.SetString("general.architecture", architecture);
  metadata.SetString("general.name", model.display_name());
  metadata.SetString("general.license", model.license());
  metadata.SetU32("general.file_type", kF16FileType);
  metadata.SetU32(key("block_count"), model.layers());
  metadata.SetU32(key("embedding_length"), model.model_dim());
  metadata.SetU32(key("context_length"), model.context_tokens());
  SetPerLayer(metadata, key("attention.head_count"), model.query_heads(), 1);
  SetPerLayer(metadata, key("attention.head_count_kv"), model.kv_heads(), 1);
  // Files of the first Qwen state the width of gate and up together.
  SetPerLayer(metadata, key("feed_forward_length"), model.ffn_dim(), architecture == "qwen" ? 2 : 1);
  metadata.SetU32(key("attention.key_length"), model.head_dim());
  metadata.SetU32(key("attention.value_length"), model.head_dim());
  metadata.SetF32(key("attention.layer_norm_epsilon"), 1e-5f);
  metadata.SetF32(key("attention.layer_norm_rms_epsilon"), 1e-5f);
  metadata.SetU32(key("rope.dimension_count"), model.rotary_dim() > 0 ? model.rotary_dim() : model.head_dim());
  if (model.sliding_window() > 0) metadata.SetU32(key("attention.sliding_window"), model.sliding_window());
  for (const auto& [name, value] : model.keys()) metadata.SetU32(key(name), value);
  for (const std::string& name : model.true_keys()) metadata.SetBool(key(name), true);
  return metadata;
}

bool IsFused(const Model& model, TensorRole role) {
  const auto has = [&](catalog::v1::Fused fused) {
    return std::find(model.fused().begin(), model.fused().end(), fused) != model.fused().end();
  };
  switch (role) {
    case TensorRole::kQ:
    case TensorRole::kK:
    case TensorRole::kV:
    case TensorRole::kQBias:
    case TensorRole::kKBias:
    case TensorRole::kVBias:
      return has(catalog::v1::FUSED_QKV);
    case TensorRole::kFfnGate:
    case TensorRole::kFfnGateBias:
      return has(catalog::v1::FUSED_GATE_UP);
    default:
      return false;
  }
}

// A table of positions stays wide, as converters leave it.
DType TypeOf(TensorRole role) {
  return worker::IsVector(role) || role == TensorRole::kPositions ? DType::kF32 : DType::kF16;
}

GgufTensorPlan PlanOf(TensorRole role, int layer, int64_t rows, int64_t cols) {
  std::vector<int64_t> dims = {cols};
  if (!worker::IsVector(role)) dims.push_back(rows);
  return {worker::GgufTensorName(role, layer), TypeOf(role), std::move(dims)};
}

// As much of the tensors as a family looks at to describe the model.
std::vector<GgufTensorPlan> Seed(const Model& model) {
  const int64_t d = model.model_dim();
  std::vector<GgufTensorPlan> seed = {PlanOf(TensorRole::kTokenEmbedding, 0, model.vocab_size(), d)};
  const worker::Family* family = worker::FindFamily(model.architecture());
  if (family->positions == worker::Positions::kLearned) {
    seed.push_back(PlanOf(TensorRole::kPositions, 0, model.context_tokens(), d));
  }
  if (!model.tied_embeddings() || model.output_copied()) {
    seed.push_back(PlanOf(TensorRole::kOutput, 0, model.vocab_size(), d));
  }
  if (model.qkv_bias()) seed.push_back(PlanOf(TensorRole::kQBias, 0, 1, 1));
  if (model.other_biases()) {
    for (const TensorRole role : {TensorRole::kAttentionOutBias, TensorRole::kFfnUpBias, TensorRole::kFfnDownBias}) {
      seed.push_back(PlanOf(role, 0, 1, 1));
    }
  }
  return seed;
}

// All that the description asks for, as converters order and join it.
std::vector<GgufTensorPlan> TensorsOf(const Model& model, const worker::ModelDescription& description) {
  std::vector<GgufTensorPlan> plans;
  for (const worker::WantedTensor& wanted : worker::WantedTensors(description)) {
    GgufTensorPlan plan = PlanOf(wanted.role, wanted.layer, wanted.rows, wanted.cols);
    if (IsFused(model, wanted.role)) plan.name = worker::GgufFusedName(wanted.role, wanted.layer);
    const auto same = std::find_if(plans.begin(), plans.end(), [&](const auto& p) { return p.name == plan.name; });
    if (same == plans.end()) {
      plans.push_back(std::move(plan));
    } else {
      same->dims.back() += plan.dims.back();
    }
  }
  return plans;
}

}  // namespace

absl::StatusOr<std::unique_ptr<worker::GgufOutline>> OutlineOf(const Model& model) {
  if (worker::FindFamily(model.architecture()) == nullptr) {
    std::vector<std::string> known;
    for (const worker::Family& family : worker::Families()) known.emplace_back(family.architecture);
    return base::Error(absl::StatusCode::kFailedPrecondition, "NOT_SUPPORTED",
                       base::StrCat(model.id(), " is of the architecture ", model.architecture(),
                                    ", which this version does not run (it runs ", absl::StrJoin(known, ", "), ")"),
                       {{"resource", model.id()}});
  }
  const worker::GgufMetadata metadata = MetadataOf(model);
  LINNET_ASSIGN_OR_RETURN(const auto seed, worker::GgufOutline::Create(model.id(), metadata, Seed(model)));
  LINNET_ASSIGN_OR_RETURN(const worker::ModelDescription description, worker::DescribeModel(seed->file()));
  return worker::GgufOutline::Create(model.id(), metadata, TensorsOf(model, description));
}

absl::StatusOr<std::unique_ptr<worker::GgufOutline>> QuantizedOutline(const worker::GgufFile& source,
                                                                      const QuantizeFormat& format) {
  const std::vector<DType> types = PlanTypes(source, format);
  std::vector<GgufTensorPlan> plans;
  worker::GgufOutline::Data data;
  for (size_t i = 0; i < types.size(); ++i) {
    const worker::GgufTensor& tensor = source.tensors()[i];
    plans.push_back({tensor.name, types[i], tensor.dims});
    // Factors of RoPE are read to describe the model.
    if (tensor.name.starts_with("rope_") && types[i] == tensor.type) data[tensor.name] = tensor.data;
  }
  return worker::GgufOutline::Create(source.path(), QuantizedMetadata(source, format, types), plans, data);
}

}  // namespace linnet::cli
