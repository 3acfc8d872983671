// The one decoder: runs any model that a ModelDescription describes.
//
//   embedding ─▶ layers × ( norm ─▶ Q, K, V ─▶ RoPE ─▶ attention over the cache ─▶ out, + residual
//                           norm ─▶ gate, up ─▶ activation(gate)·up ─▶ down, + residual ) ─▶ norm ─▶ logits of the
//                           rows wanted
//
// Norms may stand before a sublayer, behind it, or both; the two sublayers may start from the same x; there may be no
// gate, or other positions than RoPE. Instead of attention there may be a recurrence.
//
// All tokens of a step are rows of the same products, whichever sequence they belong to; only attention looks at spans.
// In the last layer, rows whose logits nobody wants stop after their keys and values are stored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "kernels/best_outputs.h"
#include "kernels/matrix.h"
#include "kernels/rows.h"
#include "kernels/thread_pool.h"
#include "worker/model/batch.h"
#include "worker/model/description.h"
#include "worker/model/kv_cache.h"
#include "worker/model/weights.h"

namespace linnet::worker {

// Not thread-safe. Description, weights and pool must outlive it.
class Decoder {
 public:
  Decoder(const ModelDescription& model, const Weights& weights, kernels::Precision precision, int64_t max_step_tokens,
          kernels::ThreadPool& pool);

  // As Model::Forward.
  StepOutput Forward(std::span<const BatchSpan> batch, KvCache& cache);

  int64_t max_step_tokens() const { return max_step_tokens_; }
  // Of scratch memory for activations, all of it; logits of more rows than one a sequence come on top.
  static int64_t ScratchBytes(const ModelDescription& model, int64_t max_step_tokens);

 private:
  struct FreeDeleter {
    void operator()(float* p) const { std::free(p); }
  };
  // Cache-line aligned f32; pages cost memory when touched.
  using Buffer = std::unique_ptr<float[], FreeDeleter>;
  static Buffer Allocate(int64_t elements);

  // Layers of equal description share a rotation.
  struct Rotation {
    RopeDescription description;
    kernels::RopeTable table;
    std::vector<kernels::RopeTable> table_of_span;  // where the description depends on the length
    Buffer cos, sin;                                // of the step that runs: [max_step_tokens, rotary_dim / 2]
  };

  // A row of the step: a token of a span.
  struct Row {
    int32_t span = 0;
    int64_t position = 0;
  };

  void SetRows(std::span<const BatchSpan> batch);
  // Token embeddings to x_, as the table has them or projected.
  void LookUp(std::span<const BatchSpan> batch);
  // The same with positions, and the step's RoPE angles.
  void Embed(std::span<const BatchSpan> batch);
  // Drops the rows without logits of x and of others. After it rows are those of the output, in span order.
  struct Rows {
    float* data = nullptr;
    int64_t width = 0;
  };
  void KeepLogitRows(std::span<const BatchSpan> batch, std::initializer_list<Rows> others);
  void RunAttention(std::span<const BatchSpan> batch, const KvCache& cache, size_t layer, bool last);
  void RunRecurrent(std::span<const BatchSpan> batch, const KvCache& cache, size_t layer, bool last);
  // Convolution and RG-LRU of the step's rows: recurrent_[0] through [1], [2] and [3] to [1].
  void Recur(std::span<const BatchSpan> batch, const KvCache& cache, size_t layer);
  void RunFfn(const LayerDescription& layer);
  // Where the activation is a series: of up, or of the gate, which is left beside it then.
  void ActivateSeries(const FfnDescription& ffn, const LayerWeights& weights);
  // What attention takes, in q_, k_ and v_, and a bottleneck's inside, out of activations_.
  void Project(const LayerDescription& layer, const LayerWeights& weights);
  // The same of a row as the projections left them: clipped, normed, rotated; of latent attention the latent vector in
  // k_, and of queries in q_ what positions rotate.
  void PrepareLatent(const LayerDescription& layer, const LayerWeights& weights, const Rotation& rotation, int64_t row);
  void PrepareHeads(const LayerDescription& layer, const LayerWeights& weights, const Rotation& rotation, int64_t row);
  // x += the sublayer's product of activations_, through what the layer does to that first. Where the layer adds
  // attention and FFN to the same x, attention's waits in branch_.
  struct Branch {
    const kernels::Matrix* weights = nullptr;
    const std::vector<float>* bias = nullptr;
    const NormDescription* post_norm = nullptr;
    const std::vector<float>* post_norm_weight = nullptr;
    const NormDescription* sum_norm = nullptr;
    const std::vector<float>* sum_norm_weight = nullptr;
    const std::vector<float>* sum_norm_bias = nullptr;
    bool waits = false;
  };
  void AddBranch(const LayerDescription& layer, const Branch& branch);
  void AddToX(const float* y, float scale);
  StepOutput Output(std::span<const BatchSpan> batch);
  // Of rows [row_count_, model_dim]; x itself where there is no norm.
  const float* Norm(const NormDescription& norm, const std::vector<float>& weight, const std::vector<float>& bias,
                    const float* x, float* y);
  // Calls f(begin, end) over [0, rows), on the calling thread where the work is not worth a parallel region.
  template <class F>
  void ForRows(int64_t rows, int64_t row_elements, F f) {
    if (rows * row_elements <= kInlineElements || pool_.threads() == 1) {
      f(int64_t{0}, rows);
      return;
    }
    const int64_t grain = std::max<int64_t>(1, kInlineElements / row_elements);
    pool_.ParallelFor(rows, grain, [&](int64_t begin, int64_t end, int) { f(begin, end); });
  }
  // Elements below which a row operation runs on the calling thread: waking the pool costs more.
  static constexpr int64_t kInlineElements = 16 * 1024;

  const ModelDescription& model_;
  const Weights& weights_;
  const bool reference_;
  const int64_t max_step_tokens_;
  kernels::ThreadPool& pool_;
  std::vector<Rotation> rotations_;
  std::vector<size_t> rotation_of_layer_;

  // Of the step that runs.
  std::vector<Row> rows_;
  std::vector<int64_t> first_row_;                       // of each span
  std::vector<kernels::KvBlocks> kv_;                    // of each span, this layer's
  std::vector<std::vector<std::byte*>> block_pointers_;  // of each span
  std::vector<kernels::AttentionSpan> attention_spans_;
  std::vector<float*> states_;  // of each span, this layer's
  kernels::Activations activations_;
  int64_t row_count_ = 0;

  // [max_step_tokens, width]
  Buffer x_;          // the residual stream, model_dim
  Buffer h_;          // after a norm, model_dim
  Buffer q_;          // q_heads · head_dim
  Buffer k_;          // kv_heads · head_dim
  Buffer v_;          // kv_heads · head_dim
  Buffer attention_;  // q_heads · head_dim
  Buffer ffn_;        // activation(gate) · up, ffn_width
  // Of a recurrent layer, its width: inputs, what the convolution makes of them, two gates, what the output is
  // multiplied by.
  Buffer recurrent_[5];
  std::vector<std::vector<float>> decay_;  // of each layer's RG-LRU: -8 softplus(parameter)
  Buffer heads_;                           // of latent attention, q_heads · query_dim, or as many values
  Buffer q_latent_;                        // q_rank
  Buffer gate_;                            // the gate by itself, ffn_width; where some layer has a series activation
  Buffer shortcut_;                        // a bottleneck's inside, shortcut_width
  Buffer narrow_;  // embeddings before they are projected, and after; embedding_dim, where that is not model_dim
  Buffer branch_;  // what attention adds, until the FFN has run; model_dim, where some layer needs it
  Buffer logits_;  // [logit_capacity_, vocab]
  int64_t logit_capacity_ = 0;

  kernels::BestOutputs output_;
  std::vector<int32_t> wanted_;  // of each row of the output
  std::vector<std::span<const kernels::ScoredOutput>> best_;
};

}  // namespace linnet::worker
