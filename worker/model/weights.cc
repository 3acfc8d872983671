#include "worker/model/weights.h"

#include <algorithm>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/model/gguf_keys.h"

namespace linnet::worker {
namespace {

bool IsVectorRole(TensorRole role) {
  switch (role) {
    case TensorRole::kFinalNorm:
    case TensorRole::kRopeFactors:
    case TensorRole::kAttentionNorm:
    case TensorRole::kQBias:
    case TensorRole::kKBias:
    case TensorRole::kVBias:
    case TensorRole::kAttentionOutBias:
    case TensorRole::kFfnNorm:
      return true;
    default:
      return false;
  }
}

// Gathers bindings and complaints.
class Binder {
 public:
  Binder(const GgufFile& file, const Family& family) : file_(file), family_(family) {}

  void Bind(TensorRole role, int layer, int64_t rows, int64_t cols) {
    const std::string name = family_.TensorName(role, layer);
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) {
      problems_.push_back(base::StrCat("tensor ", name, " is missing"));
      return;
    }
    known_.insert(tensor->name);
    const bool is_vector = IsVectorRole(role);
    std::vector<int64_t> want = {cols};
    if (!is_vector) want.push_back(rows);
    if (tensor->dims != want) {
      problems_.push_back(base::StrCat("tensor ", name, " has shape [", absl::StrJoin(tensor->dims, ", "),
                                       "], should have [", absl::StrJoin(want, ", "), "]"));
      return;
    }
    const kernels::DType type = tensor->type;
    const kernels::DTypeInfo& info = kernels::Info(type);
    if (is_vector && info.block_elements != 1) {
      problems_.push_back(base::StrCat("tensor ", name, " is ", info.name, ", should be F32, F16 or BF16"));
      return;
    }
    if (cols % info.block_elements != 0) {
      problems_.push_back(base::StrCat("tensor ", name, " has ", cols, " columns, not a multiple of ", info.name,
                                       "'s block of ", info.block_elements));
      return;
    }
    bindings_.push_back({.tensor = tensor, .role = role, .layer = layer, .rows = rows, .cols = cols});
  }

  // Known by name, used elsewhere.
  void Allow(TensorRole role) { known_.insert(family_.TensorName(role, 0)); }

  absl::StatusOr<std::vector<TensorBinding>> Finish() {
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!known_.contains(tensor.name)) problems_.push_back(base::StrCat("tensor ", tensor.name, " is unexpected"));
    }
    if (!problems_.empty()) return ModelFileError(file_.path(), problems_);
    return std::move(bindings_);
  }

 private:
  const GgufFile& file_;
  const Family& family_;
  std::vector<TensorBinding> bindings_;
  std::set<std::string, std::less<>> known_;
  std::vector<std::string> problems_;
};

std::vector<float> LoadVector(const TensorBinding& binding) {
  std::vector<float> values(static_cast<size_t>(binding.cols));
  kernels::Dequantize(binding.tensor->type, binding.tensor->data.data(), binding.cols, values.data());
  return values;
}

// Where a vector or matrix goes.
std::vector<float>* VectorSlot(Weights& weights, TensorRole role, int layer) {
  if (role == TensorRole::kFinalNorm) return &weights.final_norm;
  LayerWeights& block = weights.layers[static_cast<size_t>(layer)];
  switch (role) {
    case TensorRole::kAttentionNorm:
      return &block.attention_norm;
    case TensorRole::kFfnNorm:
      return &block.ffn_norm;
    case TensorRole::kQBias:
      return &block.q_bias;
    case TensorRole::kKBias:
      return &block.k_bias;
    case TensorRole::kVBias:
      return &block.v_bias;
    case TensorRole::kAttentionOutBias:
      return &block.attention_out_bias;
    default:
      return nullptr;
  }
}

std::unique_ptr<kernels::Matrix>* MatrixSlot(Weights& weights, TensorRole role, int layer) {
  if (role == TensorRole::kTokenEmbedding) return &weights.embedding;
  if (role == TensorRole::kOutput) return &weights.output;
  LayerWeights& block = weights.layers[static_cast<size_t>(layer)];
  switch (role) {
    case TensorRole::kQ:
      return &block.q;
    case TensorRole::kK:
      return &block.k;
    case TensorRole::kV:
      return &block.v;
    case TensorRole::kAttentionOut:
      return &block.attention_out;
    case TensorRole::kFfnGate:
      return &block.ffn_gate;
    case TensorRole::kFfnUp:
      return &block.ffn_up;
    case TensorRole::kFfnDown:
      return &block.ffn_down;
    default:
      return nullptr;
  }
}

}  // namespace

bool TensorBinding::is_vector() const { return IsVectorRole(role); }

absl::StatusOr<std::vector<TensorBinding>> BindTensors(const GgufFile& file, const ModelDescription& model,
                                                       const Family& family) {
  Binder binder(file, family);
  const int64_t d = model.model_dim;
  // Each stored block once, also where several layers use it.
  std::set<int> bound;
  for (const LayerDescription& layer : model.layers) {
    const int block = layer.weights_of_layer;
    if (!bound.insert(block).second) continue;
    const int64_t q = int64_t{layer.attention.q_heads} * layer.attention.head_dim;
    const int64_t kv = int64_t{layer.attention.kv_heads} * layer.attention.head_dim;
    binder.Bind(TensorRole::kAttentionNorm, block, 1, d);
    binder.Bind(TensorRole::kQ, block, q, d);
    binder.Bind(TensorRole::kK, block, kv, d);
    binder.Bind(TensorRole::kV, block, kv, d);
    if (layer.attention.qkv_bias) {
      binder.Bind(TensorRole::kQBias, block, 1, q);
      binder.Bind(TensorRole::kKBias, block, 1, kv);
      binder.Bind(TensorRole::kVBias, block, 1, kv);
    }
    binder.Bind(TensorRole::kAttentionOut, block, d, q);
    if (layer.attention.out_bias) binder.Bind(TensorRole::kAttentionOutBias, block, 1, d);
    binder.Bind(TensorRole::kFfnNorm, block, 1, d);
    binder.Bind(TensorRole::kFfnGate, block, layer.ffn.width, d);
    binder.Bind(TensorRole::kFfnUp, block, layer.ffn.width, d);
    binder.Bind(TensorRole::kFfnDown, block, d, layer.ffn.width);
  }
  binder.Bind(TensorRole::kFinalNorm, 0, 1, d);
  binder.Bind(TensorRole::kTokenEmbedding, 0, model.vocab_size, d);
  if (!model.tied_embeddings) binder.Bind(TensorRole::kOutput, 0, model.vocab_size, d);
  binder.Allow(TensorRole::kRopeFactors);
  return binder.Finish();
}

PackedTable PlanPacked(std::span<const TensorBinding> bindings, kernels::Precision precision) {
  PackedTable table;
  for (const TensorBinding& binding : bindings) {
    if (binding.is_vector()) continue;
    table.Add(binding.tensor->name, binding.tensor->type, binding.rows, binding.cols, precision);
  }
  return table;
}

namespace {

// The image of `table`: read where that was packed before, else only the memory for it.
absl::StatusOr<kernels::AlignedBuffer> ImageMemory(const PackedTable& table, const LoadWeightsOptions& options,
                                                   const std::function<void(int64_t done)>& progress, bool* read) {
  *read = false;
  if (options.packed != nullptr && table.bytes > 0) {
    absl::StatusOr<kernels::AlignedBuffer> memory = options.packed->Read(table, *options.pool, progress);
    *read = memory.ok();
    // No memory for it is nothing that packing again would change.
    if (memory.ok() || absl::IsResourceExhausted(memory.status())) return memory;
    LINNET_RETURN_IF_ERROR(options.on_damage(memory.status()));
  }
  return kernels::AlignedBuffer::Create(table.bytes);
}

// Loads the matrices and vectors one after the other.
class Loader {
 public:
  Loader(const GgufFile& file, const LoadWeightsOptions& options, std::shared_ptr<PackedImage> image, Weights* weights)
      : file_(file), options_(options), image_(std::move(image)), weights_(*weights) {}

  absl::Status Load(const TensorBinding& binding) {
    if (binding.is_vector()) {
      std::vector<float>& slot = *VectorSlot(weights_, binding.role, binding.layer);
      slot = LoadVector(binding);
      weights_.bytes += slot.size() * sizeof(float);
    } else {
      absl::StatusOr<std::unique_ptr<kernels::Matrix>> matrix = LoadMatrix(binding);
      if (!matrix.ok()) {
        return ModelFileError(file_.path(),
                              {base::StrCat("tensor ", binding.tensor->name, ": ", matrix.status().message())});
      }
      weights_.bytes += static_cast<uint64_t>((*matrix)->bytes());
      *MatrixSlot(weights_, binding.role, binding.layer) = *std::move(matrix);
    }
    return absl::OkStatus();
  }

  // Of the matrices that are packed, which this is the next one of; nullptr: it is none.
  const PackedTensor* Packed(const TensorBinding& binding) const {
    const std::vector<PackedTensor>& tensors = image_->table.tensors;
    if (next_packed_ == tensors.size() || tensors[next_packed_].name != binding.tensor->name) return nullptr;
    return &tensors[next_packed_];
  }

 private:
  absl::StatusOr<std::unique_ptr<kernels::Matrix>> LoadMatrix(const TensorBinding& binding) {
    kernels::PackedPlace place;
    if (const PackedTensor* tensor = Packed(binding)) {
      ++next_packed_;
      place = PlaceOf(image_, *tensor);
      if (weights_.packed_before) {
        return kernels::Matrix::FromPacked(tensor->type, tensor->rows, tensor->cols, std::move(place));
      }
    }
    return kernels::Matrix::Create({.type = binding.tensor->type,
                                    .rows = binding.rows,
                                    .cols = binding.cols,
                                    .data = binding.tensor->data.data(),
                                    .release = [this](std::span<const std::byte> part) { file_.Release(part); }},
                                   options_.precision, *options_.pool, std::move(place));
  }

  const GgufFile& file_;
  const LoadWeightsOptions& options_;
  const std::shared_ptr<PackedImage> image_;
  Weights& weights_;
  size_t next_packed_ = 0;
};

}  // namespace

absl::StatusOr<Weights> LoadWeights(const GgufFile& file, const ModelDescription& model,
                                    std::span<const TensorBinding> bindings, const LoadWeightsOptions& options) {
  Weights weights;
  int blocks = 0;
  for (const LayerDescription& layer : model.layers) blocks = std::max(blocks, layer.weights_of_layer + 1);
  weights.layers.resize(static_cast<size_t>(blocks));
  uint64_t total = 0, packed = 0;
  auto image = std::make_shared<PackedImage>();
  image->table = PlanPacked(bindings, options.precision);
  for (const TensorBinding& binding : bindings) total += binding.tensor->data.size();
  for (const PackedTensor& tensor : image->table.tensors) packed += file.FindTensor(tensor.name)->data.size();

  const auto read_progress = [&](int64_t done) {
    const double share = static_cast<double>(done) / static_cast<double>(image->table.bytes);
    if (options.progress) options.progress(static_cast<uint64_t>(share * static_cast<double>(packed)), total);
  };
  LINNET_ASSIGN_OR_RETURN(image->memory, ImageMemory(image->table, options, read_progress, &weights.packed_before));
  weights.packed = image;

  uint64_t done = weights.packed_before ? packed : 0;
  Loader loader(file, options, image, &weights);
  for (size_t i = 0; i < bindings.size(); ++i) {
    const GgufTensor& tensor = *bindings[i].tensor;
    const bool is_read = weights.packed_before && loader.Packed(bindings[i]) != nullptr;
    if (i + 1 < bindings.size() && !weights.packed_before) file.WillNeed(*bindings[i + 1].tensor);
    LINNET_RETURN_IF_ERROR(loader.Load(bindings[i]));
    file.Release(tensor);
    if (!is_read) done += tensor.data.size();
    if (options.progress) options.progress(done, total);
  }
  return weights;
}

}  // namespace linnet::worker
