#include "worker/model/weights.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/finite.h"
#include "worker/model/gguf_keys.h"
#include "worker/model/gguf_names.h"
#include "worker/model/shared_scales.h"

namespace linnet::worker {
namespace {

template <class Owner, class Slot>
struct Place {
  TensorRole role;
  Slot Owner::* at;
};
using Vector = std::vector<float>;
using MatrixPointer = std::unique_ptr<kernels::Matrix>;

// Where each role's weights go.
constexpr Place<Weights, Vector> kModelVectors[] = {
    {TensorRole::kEmbeddingNorm, &Weights::embedding_norm},
    {TensorRole::kEmbeddingNormBias, &Weights::embedding_norm_bias},
    {TensorRole::kFinalNorm, &Weights::final_norm},
    {TensorRole::kFinalNormBias, &Weights::final_norm_bias},
    {TensorRole::kOutputBias, &Weights::output_bias},
};
constexpr Place<Weights, MatrixPointer> kModelMatrices[] = {
    {TensorRole::kTokenEmbedding, &Weights::embedding},
    {TensorRole::kEmbeddingIn, &Weights::embedding_in},
    {TensorRole::kEmbeddingOut, &Weights::embedding_out},
    {TensorRole::kPositions, &Weights::positions},
    {TensorRole::kOutput, &Weights::output},
};
constexpr Place<LayerWeights, Vector> kLayerVectors[] = {
    {TensorRole::kAttentionNorm, &LayerWeights::attention_norm},
    {TensorRole::kAttentionNormBias, &LayerWeights::attention_norm_bias},
    {TensorRole::kQBias, &LayerWeights::q_bias},
    {TensorRole::kKBias, &LayerWeights::k_bias},
    {TensorRole::kVBias, &LayerWeights::v_bias},
    {TensorRole::kQNorm, &LayerWeights::q_norm},
    {TensorRole::kKNorm, &LayerWeights::k_norm},
    {TensorRole::kAttentionOutBias, &LayerWeights::attention_out_bias},
    {TensorRole::kQDownNorm, &LayerWeights::q_down_norm},
    {TensorRole::kKvDownNorm, &LayerWeights::kv_down_norm},
    {TensorRole::kRecurrentXBias, &LayerWeights::recurrent_x_bias},
    {TensorRole::kRecurrentYBias, &LayerWeights::recurrent_y_bias},
    {TensorRole::kConvolution, &LayerWeights::convolution},
    {TensorRole::kConvolutionBias, &LayerWeights::convolution_bias},
    {TensorRole::kInputGateBias, &LayerWeights::input_gate_bias},
    {TensorRole::kRecurrenceGateBias, &LayerWeights::recurrence_gate_bias},
    {TensorRole::kRecurrenceParameter, &LayerWeights::recurrence_parameter},
    {TensorRole::kRecurrentOutBias, &LayerWeights::recurrent_out_bias},
    {TensorRole::kAttentionPostNorm, &LayerWeights::attention_post_norm},
    {TensorRole::kAttentionSumNorm, &LayerWeights::attention_sum_norm},
    {TensorRole::kAttentionSumNormBias, &LayerWeights::attention_sum_norm_bias},
    {TensorRole::kFfnNorm, &LayerWeights::ffn_norm},
    {TensorRole::kFfnNormBias, &LayerWeights::ffn_norm_bias},
    {TensorRole::kFfnGateBias, &LayerWeights::ffn_gate_bias},
    {TensorRole::kFfnUpBias, &LayerWeights::ffn_up_bias},
    {TensorRole::kFfnDownBias, &LayerWeights::ffn_down_bias},
    {TensorRole::kFfnSeriesScale, &LayerWeights::ffn_series_scale},
    {TensorRole::kFfnSeriesBias, &LayerWeights::ffn_series_bias},
    {TensorRole::kFfnPostNorm, &LayerWeights::ffn_post_norm},
    {TensorRole::kFfnSumNorm, &LayerWeights::ffn_sum_norm},
    {TensorRole::kFfnSumNormBias, &LayerWeights::ffn_sum_norm_bias},
};
constexpr Place<LayerWeights, MatrixPointer> kLayerMatrices[] = {
    {TensorRole::kQ, &LayerWeights::q},
    {TensorRole::kK, &LayerWeights::k},
    {TensorRole::kV, &LayerWeights::v},
    {TensorRole::kQDown, &LayerWeights::q_down},
    {TensorRole::kQUp, &LayerWeights::q_up},
    {TensorRole::kKvDown, &LayerWeights::kv_down},
    {TensorRole::kAttentionOut, &LayerWeights::attention_out},
    {TensorRole::kRecurrentX, &LayerWeights::recurrent_x},
    {TensorRole::kRecurrentY, &LayerWeights::recurrent_y},
    {TensorRole::kRecurrentOut, &LayerWeights::recurrent_out},
    {TensorRole::kShortcutDown, &LayerWeights::shortcut_down},
    {TensorRole::kShortcutUp, &LayerWeights::shortcut_up},
    {TensorRole::kFfnGate, &LayerWeights::ffn_gate},
    {TensorRole::kFfnUp, &LayerWeights::ffn_up},
    {TensorRole::kFfnDown, &LayerWeights::ffn_down},
};

template <class Owner, class Slot, size_t kPlaces>
constexpr Slot Owner::* Find(const Place<Owner, Slot> (&places)[kPlaces], TensorRole role) {
  for (const Place<Owner, Slot>& place : places) {
    if (place.role == role) return place.at;
  }
  return nullptr;
}

// Gathers what a description asks for.
class Binder {
 public:
  void Matrix(TensorRole role, int layer, int64_t rows, int64_t cols) { wanted.push_back({role, layer, rows, cols}); }
  void Vector(TensorRole role, int layer, int64_t elements) { wanted.push_back({role, layer, 1, elements}); }
  // Several as the rows of one tensor, which are loaded as one vector.
  void Vectors(TensorRole role, int layer, int64_t count, int64_t elements) {
    wanted.push_back({role, layer, count, elements});
  }

  std::vector<WantedTensor> wanted;
};

// Gathers bindings and complaints. Roles that share a tensor lie in it one below the other, in the order of binding.
class FileBinder {
 public:
  explicit FileBinder(const GgufFile& file) : file_(file) {}

  void Bind(const WantedTensor& wanted) {
    const std::string own = GgufTensorName(wanted.role, wanted.layer);
    const std::string fused = GgufFusedName(wanted.role, wanted.layer);
    const GgufTensor* tensor = file_.FindTensor(own);
    if (tensor == nullptr && !fused.empty()) tensor = file_.FindTensor(fused);
    if (tensor == nullptr) {
      problems_.push_back(base::StrCat("tensor ", own, " is missing"));
      return;
    }
    used_[tensor->name].push_back(bindings_.size());
    bindings_.push_back({.tensor = tensor,
                         .role = wanted.role,
                         .layer = wanted.layer,
                         .rows = wanted.rows,
                         .cols = wanted.cols,
                         .packed_as = ClaimedPackedType(file_, tensor->type)});
  }

  // Known by name, used elsewhere.
  void Allow(TensorRole role) { used_[GgufTensorName(role, 0)]; }

  absl::StatusOr<std::vector<TensorBinding>> Finish() {
    for (const GgufTensor& tensor : file_.tensors()) {
      const auto used = used_.find(tensor.name);
      if (used == used_.end()) {
        problems_.push_back(base::StrCat("tensor ", tensor.name, " is unexpected"));
      } else if (!used->second.empty()) {
        Check(tensor, used->second);
      }
    }
    if (!problems_.empty()) return ModelFileError(file_.path(), problems_);
    return std::move(bindings_);
  }

 private:
  // Of all bindings to one tensor: gives each its part of the data.
  void Check(const GgufTensor& tensor, const std::vector<size_t>& parts) {
    const TensorBinding& first = bindings_[parts[0]];
    const bool is_vector = first.is_vector();
    int64_t elements = 0;
    for (const size_t part : parts) elements += bindings_[part].rows * bindings_[part].cols;
    std::vector<int64_t> want = {elements};
    if (!is_vector || first.rows > 1) want = {first.cols, elements / first.cols};
    if (tensor.dims != want) {
      problems_.push_back(base::StrCat("tensor ", tensor.name, " has shape [", absl::StrJoin(tensor.dims, ", "),
                                       "], should have [", absl::StrJoin(want, ", "), "]"));
      return;
    }
    const kernels::DTypeInfo& info = kernels::Info(tensor.type);
    if (is_vector && info.block_elements != 1) {
      problems_.push_back(base::StrCat("tensor ", tensor.name, " is ", info.name, ", should be F32, F16 or BF16"));
      return;
    }
    if (first.cols % info.block_elements != 0) {
      problems_.push_back(base::StrCat("tensor ", tensor.name, " has ", first.cols, " columns, not a multiple of ",
                                       info.name, "'s block of ", info.block_elements));
      return;
    }
    size_t at = 0;
    for (const size_t part : parts) {
      TensorBinding& binding = bindings_[part];
      const auto bytes = static_cast<size_t>(kernels::BytesFor(tensor.type, binding.rows * binding.cols));
      binding.data = tensor.data.subspan(at, bytes);
      at += bytes;
    }
  }

  const GgufFile& file_;
  std::vector<TensorBinding> bindings_;
  std::map<std::string, std::vector<size_t>, std::less<>> used_;  // which bindings are to a tensor
  std::vector<std::string> problems_;
};

std::vector<float> LoadVector(const TensorBinding& binding) {
  const int64_t elements = binding.rows * binding.cols;
  std::vector<float> values(static_cast<size_t>(elements));
  kernels::Dequantize(binding.tensor->type, binding.data.data(), elements, values.data());
  return values;
}

void BindNorm(Binder& binder, const NormDescription& norm, TensorRole weight, TensorRole bias, int layer, int64_t n) {
  if (norm.kind == NormKind::kNone) return;
  if (norm.weight) binder.Vector(weight, layer, n);
  if (norm.bias) binder.Vector(bias, layer, n);
}

void BindLatent(Binder& binder, const AttentionDescription& attention, int block, int64_t d) {
  const LatentDescription& latent = attention.latent;
  const int64_t heads = attention.q_heads;
  binder.Matrix(TensorRole::kQDown, block, latent.q_rank, d);
  binder.Vector(TensorRole::kQDownNorm, block, latent.q_rank);
  binder.Matrix(TensorRole::kQUp, block, heads * latent.query_dim(), latent.q_rank);
  binder.Matrix(TensorRole::kKvDown, block, latent.kv_rank + latent.rotary_dim, d);
  binder.Vector(TensorRole::kKvDownNorm, block, latent.kv_rank);
  binder.Matrix(TensorRole::kKvUp, block, heads * (latent.plain_dim + latent.value_dim), latent.kv_rank);
}

void BindQkv(Binder& binder, const AttentionDescription& attention, int block, int64_t d) {
  const int64_t q = int64_t{attention.q_heads} * attention.head_dim;
  const int64_t kv = int64_t{attention.kv_heads} * attention.head_dim;
  binder.Matrix(TensorRole::kQ, block, q, d);
  binder.Matrix(TensorRole::kK, block, kv, d);
  binder.Matrix(TensorRole::kV, block, kv, d);
  if (attention.qkv_bias) {
    binder.Vector(TensorRole::kQBias, block, q);
    binder.Vector(TensorRole::kKBias, block, kv);
    binder.Vector(TensorRole::kVBias, block, kv);
  }
  if (attention.qk_norm.kind != NormKind::kNone) {
    const int64_t head_dim = attention.head_dim;
    if (attention.qk_norm_of_each_head) {
      binder.Vectors(TensorRole::kQNorm, block, attention.q_heads, head_dim);
      binder.Vectors(TensorRole::kKNorm, block, attention.kv_heads, head_dim);
    } else {
      binder.Vector(TensorRole::kQNorm, block, attention.qk_norm_over_heads ? q : head_dim);
      binder.Vector(TensorRole::kKNorm, block, attention.qk_norm_over_heads ? kv : head_dim);
    }
  }
}

void BindRecurrent(Binder& binder, const RecurrentDescription& recurrent, int block, int64_t d) {
  const int64_t width = recurrent.width;
  binder.Matrix(TensorRole::kRecurrentX, block, width, d);
  binder.Vector(TensorRole::kRecurrentXBias, block, width);
  binder.Matrix(TensorRole::kRecurrentY, block, width, d);
  binder.Vector(TensorRole::kRecurrentYBias, block, width);
  binder.Vector(TensorRole::kConvolution, block, recurrent.taps * width);
  binder.Vector(TensorRole::kConvolutionBias, block, width);
  binder.Matrix(TensorRole::kInputGate, block, width, width / recurrent.heads);
  binder.Vector(TensorRole::kInputGateBias, block, width);
  binder.Matrix(TensorRole::kRecurrenceGate, block, width, width / recurrent.heads);
  binder.Vector(TensorRole::kRecurrenceGateBias, block, width);
  binder.Vector(TensorRole::kRecurrenceParameter, block, width);
  binder.Matrix(TensorRole::kRecurrentOut, block, d, width);
  binder.Vector(TensorRole::kRecurrentOutBias, block, d);
}

void BindHeads(Binder& binder, const AttentionDescription& attention, int block, int64_t d) {
  const bool latent = attention.latent.kv_rank > 0;
  latent ? BindLatent(binder, attention, block, d) : BindQkv(binder, attention, block, d);
  const int value_dim = latent ? attention.latent.value_dim : attention.value_dim;
  binder.Matrix(TensorRole::kAttentionOut, block, d, int64_t{attention.q_heads} * value_dim);
  if (attention.out_bias) binder.Vector(TensorRole::kAttentionOutBias, block, d);
}

// Attention, or what stands in its place.
void BindAttention(Binder& binder, const LayerDescription& layer, int block, int64_t d) {
  BindNorm(binder, layer.attention_norm, TensorRole::kAttentionNorm, TensorRole::kAttentionNormBias, block, d);
  if (layer.recurrent.width > 0) {
    BindRecurrent(binder, layer.recurrent, block, d);
  } else {
    BindHeads(binder, layer.attention, block, d);
  }
  if (layer.shortcut_width > 0) {
    binder.Matrix(TensorRole::kShortcutDown, block, layer.shortcut_width, d);
    binder.Matrix(TensorRole::kShortcutUp, block, d, layer.shortcut_width);
  }
  if (layer.attention_post_norm.kind != NormKind::kNone) binder.Vector(TensorRole::kAttentionPostNorm, block, d);
  BindNorm(binder, layer.attention_sum_norm, TensorRole::kAttentionSumNorm, TensorRole::kAttentionSumNormBias, block,
           d);
}

void BindFfnNorms(Binder& binder, const LayerDescription& layer, int block, int64_t d) {
  BindNorm(binder, layer.ffn_norm, TensorRole::kFfnNorm, TensorRole::kFfnNormBias, block, d);
  if (layer.ffn_post_norm.kind != NormKind::kNone) binder.Vector(TensorRole::kFfnPostNorm, block, d);
  BindNorm(binder, layer.ffn_sum_norm, TensorRole::kFfnSumNorm, TensorRole::kFfnSumNormBias, block, d);
}

void BindFfn(Binder& binder, const FfnDescription& ffn, int block, int64_t d) {
  const bool gated = ffn.kind == FfnKind::kGated;
  if (gated) binder.Matrix(TensorRole::kFfnGate, block, ffn.width, d);
  binder.Matrix(TensorRole::kFfnUp, block, ffn.width, d);
  if (ffn.up_bias) {
    if (gated) binder.Vector(TensorRole::kFfnGateBias, block, ffn.width);
    binder.Vector(TensorRole::kFfnUpBias, block, ffn.width);
  }
  if (ffn.series > 0) {
    binder.Vector(TensorRole::kFfnSeriesScale, block, int64_t{ffn.series} * ffn.width);
    binder.Vector(TensorRole::kFfnSeriesBias, block, int64_t{ffn.series} * ffn.width);
  }
  binder.Matrix(TensorRole::kFfnDown, block, d, ffn.width);
  if (ffn.down_bias) binder.Vector(TensorRole::kFfnDownBias, block, d);
}

}  // namespace

Vector* VectorOf(Weights& weights, TensorRole role, int layer) {
  if (auto at = Find(kModelVectors, role)) return &(weights.*at);
  if (auto at = Find(kLayerVectors, role)) return &(weights.layers[static_cast<size_t>(layer)].*at);
  return nullptr;
}
MatrixPointer* MatrixOf(Weights& weights, TensorRole role, int layer) {
  if (auto at = Find(kModelMatrices, role)) return &(weights.*at);
  if (auto at = Find(kLayerMatrices, role)) return &(weights.layers[static_cast<size_t>(layer)].*at);
  return nullptr;
}

bool IsVector(TensorRole role) { return Find(kModelVectors, role) != nullptr || Find(kLayerVectors, role) != nullptr; }

bool TensorBinding::is_blocks() const {
  return role == TensorRole::kKvUp || role == TensorRole::kInputGate || role == TensorRole::kRecurrenceGate;
}

std::vector<WantedTensor> WantedTensors(const ModelDescription& model) {
  Binder binder;
  const int64_t d = model.model_dim;
  // Each stored block once, also where several layers use it.
  std::set<int> bound, ffns_bound;
  for (const LayerDescription& layer : model.layers) {
    const int block = layer.weights_of_layer, ffn_block = layer.ffn_weights_of_layer;
    if (bound.insert(block).second) {
      BindAttention(binder, layer, block, d);
      BindFfnNorms(binder, layer, block, d);
    }
    if (ffns_bound.insert(ffn_block).second) BindFfn(binder, layer.ffn, ffn_block, d);
  }
  BindNorm(binder, model.final_norm, TensorRole::kFinalNorm, TensorRole::kFinalNormBias, 0, d);
  BindNorm(binder, model.embedding_norm, TensorRole::kEmbeddingNorm, TensorRole::kEmbeddingNormBias, 0, d);
  const int64_t e = model.embedding_dim;
  binder.Matrix(TensorRole::kTokenEmbedding, 0, model.vocab_size, e);
  if (e != d) {
    binder.Matrix(TensorRole::kEmbeddingIn, 0, d, e);
    binder.Matrix(TensorRole::kEmbeddingOut, 0, e, d);
  }
  if (model.learned_positions > 0) binder.Matrix(TensorRole::kPositions, 0, model.learned_positions, d);
  if (!model.tied_embeddings) binder.Matrix(TensorRole::kOutput, 0, model.vocab_size, e);
  if (model.output_bias) binder.Vector(TensorRole::kOutputBias, 0, model.vocab_size);
  return std::move(binder.wanted);
}

absl::StatusOr<std::vector<TensorBinding>> BindTensors(const GgufFile& file, const ModelDescription& model) {
  FileBinder binder(file);
  for (const WantedTensor& wanted : WantedTensors(model)) binder.Bind(wanted);
  for (const TensorRole role :
       {TensorRole::kRopeFactors, TensorRole::kRopeShortFactors, TensorRole::kRopeLongFactors}) {
    binder.Allow(role);
  }
  return binder.Finish();
}

uint64_t LoadBlocks(const TensorBinding& binding, const ModelDescription& model, kernels::Precision precision,
                    Weights& weights) {
  std::vector<float> values(static_cast<size_t>(binding.rows * binding.cols));
  kernels::Dequantize(binding.tensor->type, binding.data.data(), binding.rows * binding.cols, values.data());
  const auto owner = std::find_if(model.layers.begin(), model.layers.end(),
                                  [&](const LayerDescription& l) { return l.weights_of_layer == binding.layer; });
  LayerWeights& to = weights.layers[static_cast<size_t>(binding.layer)];
  if (binding.role != TensorRole::kKvUp) {
    auto& gate = binding.role == TensorRole::kInputGate ? to.input_gate : to.recurrence_gate;
    gate =
        std::make_unique<kernels::BlockDiagonal>(owner->recurrent.heads, binding.cols, binding.cols, values, precision);
    return static_cast<uint64_t>(gate->bytes());
  }
  // Rows of a head: those of its keys, then those of its values, which are turned to [latent, values].
  const LatentDescription& latent = owner->attention.latent;
  const int heads = owner->attention.q_heads;
  const auto plain = static_cast<size_t>(latent.plain_dim), rank = static_cast<size_t>(latent.kv_rank),
             value_dim = static_cast<size_t>(latent.value_dim);
  std::vector<float> keys, turned;
  for (size_t head = 0; head < static_cast<size_t>(heads); ++head) {
    const float* const key_rows = values.data() + head * (plain + value_dim) * rank;
    const float* const value_rows = key_rows + plain * rank;
    keys.insert(keys.end(), key_rows, value_rows);
    for (size_t i = 0; i < rank; ++i) {
      for (size_t o = 0; o < value_dim; ++o) turned.push_back(value_rows[o * rank + i]);
    }
  }
  to.key_up = std::make_unique<kernels::BlockDiagonal>(heads, latent.plain_dim, latent.kv_rank, keys, precision);
  to.value_up = std::make_unique<kernels::BlockDiagonal>(heads, latent.kv_rank, latent.value_dim, turned, precision);
  return static_cast<uint64_t>(to.key_up->bytes() + to.value_up->bytes());
}

PackedTable PlanPacked(std::span<const TensorBinding> bindings, kernels::Precision precision) {
  PackedTable table;
  for (const TensorBinding& binding : bindings) {
    if (binding.is_vector() || binding.is_blocks()) continue;
    table.Add(binding.tensor->name, binding.packed_as, binding.rows, binding.cols, precision);
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
  Loader(const GgufFile& file, const ModelDescription& model, const LoadWeightsOptions& options,
         std::shared_ptr<PackedImage> image, Weights* weights)
      : file_(file), model_(model), options_(options), image_(std::move(image)), weights_(*weights) {}

  // FAILED_PRECONDITION: its scales are not shared as it is bound.
  absl::Status Load(const TensorBinding& binding) {
    const bool small = binding.is_vector() || binding.is_blocks();
    if (small && !kernels::AllFinite(binding.tensor->type, binding.data.data(), binding.rows * binding.cols)) {
      return Error(binding, kernels::NotFinite());
    }
    if (binding.is_vector()) {
      std::vector<float>& slot = *VectorOf(weights_, binding.role, binding.layer);
      slot = LoadVector(binding);
      weights_.bytes += slot.size() * sizeof(float);
    } else if (binding.is_blocks()) {
      weights_.bytes += LoadBlocks(binding, model_, options_.precision, weights_);
    } else {
      absl::StatusOr<std::unique_ptr<kernels::Matrix>> matrix = LoadMatrix(binding);
      if (!matrix.ok()) return Error(binding, matrix.status());
      weights_.bytes += static_cast<uint64_t>((*matrix)->bytes());
      *MatrixOf(weights_, binding.role, binding.layer) = *std::move(matrix);
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
  absl::Status Error(const TensorBinding& binding, const absl::Status& status) const {
    const std::string message = base::StrCat("tensor ", binding.tensor->name, ": ", status.message());
    if (absl::IsFailedPrecondition(status)) return absl::FailedPreconditionError(message);  // see Load
    return ModelFileError(file_.path(), {message});
  }

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
                                    .data = binding.data.data(),
                                    .shared = binding.packed_as.shared,
                                    .release = [this](std::span<const std::byte> part) { file_.Release(part); },
                                    .check_finite = true},
                                   options_.precision, *options_.pool, std::move(place));
  }

  const GgufFile& file_;
  const ModelDescription& model_;
  const LoadWeightsOptions& options_;
  const std::shared_ptr<PackedImage> image_;
  Weights& weights_;
  size_t next_packed_ = 0;
};

// FAILED_PRECONDITION: some tensor's scales are not shared as it is bound.
absl::StatusOr<Weights> LoadAsBound(const GgufFile& file, const ModelDescription& model,
                                    std::span<const TensorBinding> bindings, const LoadWeightsOptions& options) {
  Weights weights;
  int blocks = 0;
  for (const LayerDescription& layer : model.layers) {
    blocks = std::max({blocks, layer.weights_of_layer + 1, layer.ffn_weights_of_layer + 1});
  }
  weights.layers.resize(static_cast<size_t>(blocks));
  uint64_t total = 0, packed = 0;
  auto image = std::make_shared<PackedImage>();
  image->table = PlanPacked(bindings, options.precision);
  for (const TensorBinding& binding : bindings) {
    total += binding.data.size();
    if (image->table.Packs(binding.tensor->name)) packed += binding.data.size();
  }

  const auto read_progress = [&](int64_t done) {
    const double share = static_cast<double>(done) / static_cast<double>(image->table.bytes);
    if (options.progress) options.progress(static_cast<uint64_t>(share * static_cast<double>(packed)), total);
  };
  LINNET_ASSIGN_OR_RETURN(image->memory, ImageMemory(image->table, options, read_progress, &weights.packed_before));
  weights.packed = image;

  uint64_t done = weights.packed_before ? packed : 0;
  Loader loader(file, model, options, image, &weights);
  for (size_t i = 0; i < bindings.size(); ++i) {
    const std::span<const std::byte> data = bindings[i].data;
    const bool is_read = weights.packed_before && loader.Packed(bindings[i]) != nullptr;
    if (i + 1 < bindings.size() && !weights.packed_before) file.WillNeed(bindings[i + 1].data);
    LINNET_RETURN_IF_ERROR(loader.Load(bindings[i]));
    file.Release(data);
    if (!is_read) done += data.size();
    if (options.progress) options.progress(done, total);
  }
  return weights;
}

}  // namespace

absl::StatusOr<Weights> LoadWeights(const GgufFile& file, const ModelDescription& model,
                                    std::span<const TensorBinding> bindings, const LoadWeightsOptions& options) {
  std::vector<TensorBinding> as_stored(bindings.begin(), bindings.end());
  for (TensorBinding& binding : as_stored) binding.packed_as = binding.tensor->type;
  const PackedTable stored = PlanPacked(as_stored, options.precision);
  if (PlanPacked(bindings, options.precision) == stored) return LoadAsBound(file, model, bindings, options);
  // A former load may have found out already that the file's word is not true.
  if (options.packed == nullptr || !options.packed->IsOf(stored)) {
    absl::StatusOr<Weights> weights = LoadAsBound(file, model, bindings, options);
    if (!absl::IsFailedPrecondition(weights.status())) return weights;
    LOG(WARNING) << base::LogFields("weights are not of the format that their file names: used as they are stored",
                                    {{"file", file.path()}, {"why", std::string(weights.status().message())}});
  }
  if (options.on_unshared) LINNET_RETURN_IF_ERROR(options.on_unshared(as_stored));
  return LoadAsBound(file, model, as_stored, options);
}

}  // namespace linnet::worker
