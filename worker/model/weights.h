// A model's weights in the form that the decoder uses, and how they get there from a GGUF file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/block_diagonal.h"
#include "kernels/matrix.h"
#include "kernels/packed_type.h"
#include "kernels/thread_pool.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"
#include "worker/model/packed_file.h"
#include "worker/model/packed_image.h"
#include "worker/model/tensor_role.h"

namespace linnet::worker {

// One stored block. What the description has not is empty.
struct LayerWeights {
  std::vector<float> attention_norm, attention_norm_bias;  // [model_dim]
  std::unique_ptr<kernels::Matrix> q, k, v;                // [heads · head_dim, model_dim]
  std::vector<float> q_bias, k_bias, v_bias;               // [heads · head_dim]
  std::vector<float> q_norm, k_norm;                       // [head_dim] or [heads · head_dim]
  // Of latent attention:
  std::unique_ptr<kernels::Matrix> q_down, kv_down;  // [q_rank, model_dim], [kv_rank + rotary_dim, model_dim]
  std::vector<float> q_down_norm, kv_down_norm;      // [q_rank], [kv_rank]
  std::unique_ptr<kernels::Matrix> q_up;             // [q_heads · query_dim, q_rank]
  std::unique_ptr<kernels::BlockDiagonal> key_up;    // heads' plain queries to the latent's dimensions
  std::unique_ptr<kernels::BlockDiagonal> value_up;  // latent values of heads to their values
  std::unique_ptr<kernels::Matrix> attention_out;    // [model_dim, q_heads · (value_dim of a head)]
  std::vector<float> attention_out_bias;             // [model_dim]
  // Of a recurrent layer:
  std::unique_ptr<kernels::Matrix> recurrent_x, recurrent_y;            // [width, model_dim]
  std::vector<float> recurrent_x_bias, recurrent_y_bias;                // [width]
  std::vector<float> convolution, convolution_bias;                     // [taps, width], [width]
  std::unique_ptr<kernels::BlockDiagonal> input_gate, recurrence_gate;  // a block for each head
  std::vector<float> input_gate_bias, recurrence_gate_bias;             // [width]
  std::vector<float> recurrence_parameter;                              // [width]
  std::unique_ptr<kernels::Matrix> recurrent_out;                       // [model_dim, width]
  std::vector<float> recurrent_out_bias;                                // [model_dim]
  std::unique_ptr<kernels::Matrix> shortcut_down;                       // [shortcut_width, model_dim]
  std::unique_ptr<kernels::Matrix> shortcut_up;                         // [model_dim, shortcut_width]
  std::vector<float> attention_post_norm;                               // [model_dim]
  std::vector<float> attention_sum_norm, attention_sum_norm_bias;       // [model_dim]
  std::vector<float> ffn_norm, ffn_norm_bias;                           // [model_dim]
  std::unique_ptr<kernels::Matrix> ffn_gate, ffn_up;                    // [ffn_width, model_dim]
  std::vector<float> ffn_gate_bias, ffn_up_bias;                        // [ffn_width]
  std::unique_ptr<kernels::Matrix> ffn_down;                            // [model_dim, ffn_width]
  std::vector<float> ffn_down_bias;                                     // [model_dim]
  std::vector<float> ffn_series_scale, ffn_series_bias;                 // [series, ffn_width]
  std::vector<float> ffn_post_norm;                                     // [model_dim]
  std::vector<float> ffn_sum_norm, ffn_sum_norm_bias;                   // [model_dim]
};

struct Weights {
  std::unique_ptr<kernels::Matrix> embedding;              // [vocab, embedding_dim]
  std::unique_ptr<kernels::Matrix> embedding_in;           // [model_dim, embedding_dim]; null where they are equal
  std::unique_ptr<kernels::Matrix> embedding_out;          // [embedding_dim, model_dim]; the same
  std::unique_ptr<kernels::Matrix> positions;              // [learned positions, model_dim]
  std::vector<float> embedding_norm, embedding_norm_bias;  // [model_dim]
  std::unique_ptr<kernels::Matrix> output;                 // [vocab, embedding_dim]; null where it is the embedding
  std::vector<float> output_bias;                          // [vocab]
  std::vector<float> final_norm, final_norm_bias;          // [model_dim]
  std::vector<LayerWeights> layers;                        // indexed by LayerDescription::(ffn_)weights_of_layer

  const kernels::Matrix& output_matrix() const { return output != nullptr ? *output : *embedding; }
  uint64_t bytes = 0;  // resident
  // Where the matrices' packed weights lie; an empty one where none are packed.
  std::shared_ptr<const PackedImage> packed;
  bool packed_before = false;  // the image was read, not made
};

// Where a role's weights go; nullptr: they are something else. REQUIRES: weights.layers[layer].
std::vector<float>* VectorOf(Weights& weights, TensorRole role, int layer);
std::unique_ptr<kernels::Matrix>* MatrixOf(Weights& weights, TensorRole role, int layer);

// Whether a role's weights are a vector.
bool IsVector(TensorRole role);

// What a description asks for. Vectors have rows = 1.
struct WantedTensor {
  TensorRole role = TensorRole::kTokenEmbedding;
  int layer = 0;
  int64_t rows = 0, cols = 0;
};
// In the order of loading: each stored block once, also where several layers use it.
std::vector<WantedTensor> WantedTensors(const ModelDescription& model);

// A tensor of the file, or some rows of it, in its role. Vectors have rows = 1.
struct TensorBinding {
  const GgufTensor* tensor = nullptr;
  std::span<const std::byte> data;  // of it
  TensorRole role = TensorRole::kTokenEmbedding;
  int layer = 0;
  int64_t rows = 0, cols = 0;
  // What it is packed as, where it is packed.
  kernels::PackedType packed_as = kernels::DType::kF32;

  bool is_vector() const { return IsVector(role); }
  bool is_blocks() const;  // becomes block-diagonal matrices (LoadBlocks)
};

// Every tensor that the description asks for, in the order of loading. INVALID_ARGUMENT INVALID_MODEL_FILE lists all
// that are missing, misshapen, of a type that does not serve, or have no role. What the file says of shared scales
// (shared_scales.h) is believed until LoadWeights finds otherwise.
absl::StatusOr<std::vector<TensorBinding>> BindTensors(const GgufFile& file, const ModelDescription& model);

// The block-diagonal matrices that a binding of such a role becomes; the bytes that they keep resident.
uint64_t LoadBlocks(const TensorBinding& binding, const ModelDescription& model, kernels::Precision precision,
                    Weights& weights);

// The table of what is packed of them, in the same order.
PackedTable PlanPacked(std::span<const TensorBinding> bindings, kernels::Precision precision);

struct LoadWeightsOptions {
  kernels::Precision precision = kernels::Precision::kFast;
  kernels::ThreadPool* pool = nullptr;
  // What a former load packed of this file; null: nothing.
  const PackedFile* packed = nullptr;
  // Told why `packed` could not be read after all. OK: take everything from the file. Not null where `packed` is not.
  std::function<absl::Status(const absl::Status& why)> on_damage;
  // Told that scales are not shared as the file says, and of how it is bound instead, which takes more memory; an error
  // ends the load. May be null.
  std::function<absl::Status(std::span<const TensorBinding> as_stored)> on_unshared;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  // may be null
};
// Loads what was bound, and lets go of the file's pages as it goes, so that no second copy stays resident. Where scales
// are not shared as the file says, all is packed as it is stored.
absl::StatusOr<Weights> LoadWeights(const GgufFile& file, const ModelDescription& model,
                                    std::span<const TensorBinding> bindings, const LoadWeightsOptions& options);

}  // namespace linnet::worker
