#include "worker/model/weights.h"

#include <algorithm>
#include <set>
#include <span>
#include <string>

#include "absl/strings/str_join.h"
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

absl::StatusOr<Weights> LoadWeights(const GgufFile& file, const ModelDescription& model,
                                    std::span<const TensorBinding> bindings, kernels::Precision precision,
                                    kernels::ThreadPool& pool,
                                    const std::function<void(uint64_t done_bytes, uint64_t total_bytes)>& progress) {
  Weights weights;
  int blocks = 0;
  for (const LayerDescription& layer : model.layers) blocks = std::max(blocks, layer.weights_of_layer + 1);
  weights.layers.resize(static_cast<size_t>(blocks));
  uint64_t total = 0, done = 0;
  for (const TensorBinding& binding : bindings) total += binding.tensor->data.size();

  for (size_t i = 0; i < bindings.size(); ++i) {
    const TensorBinding& binding = bindings[i];
    if (i + 1 < bindings.size()) file.WillNeed(*bindings[i + 1].tensor);
    if (binding.is_vector()) {
      std::vector<float>& slot = *VectorSlot(weights, binding.role, binding.layer);
      slot = LoadVector(binding);
      weights.bytes += slot.size() * sizeof(float);
    } else {
      auto matrix = kernels::Matrix::Create({.type = binding.tensor->type,
                                             .rows = binding.rows,
                                             .cols = binding.cols,
                                             .data = binding.tensor->data.data()},
                                            precision, pool);
      if (!matrix.ok()) {
        return ModelFileError(file.path(),
                              {base::StrCat("tensor ", binding.tensor->name, ": ", matrix.status().message())});
      }
      weights.bytes += static_cast<uint64_t>((*matrix)->bytes());
      *MatrixSlot(weights, binding.role, binding.layer) = *std::move(matrix);
    }
    file.Release(*binding.tensor);
    done += binding.tensor->data.size();
    if (progress) progress(done, total);
  }
  return weights;
}

}  // namespace linnet::worker
