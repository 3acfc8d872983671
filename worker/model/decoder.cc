#include "worker/model/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "absl/log/check.h"
#include "worker/model/rope.h"

namespace linnet::worker {
namespace {

struct Widths {
  // The widest layer's.
  int64_t q = 0, kv = 0, recurrent = 0, heads = 0, q_latent = 0, ffn = 0, gate = 0, shortcut = 0;
};

Widths WidestLayer(const ModelDescription& model) {
  Widths widths;
  for (const LayerDescription& layer : model.layers) {
    const int64_t head_dim = layer.attention.head_dim;
    widths.q = std::max(widths.q, layer.attention.q_heads * head_dim);
    widths.kv = std::max(widths.kv, layer.attention.kv_heads * head_dim);
    widths.recurrent = std::max<int64_t>(widths.recurrent, layer.recurrent.width);
    const LatentDescription& latent = layer.attention.latent;
    const int64_t head = std::max(latent.query_dim(), latent.value_dim);
    widths.heads = std::max(widths.heads, layer.attention.q_heads * head);
    widths.q_latent = std::max<int64_t>(widths.q_latent, latent.q_rank);
    widths.ffn = std::max<int64_t>(widths.ffn, layer.ffn.width);
    if (layer.ffn.series > 0) widths.gate = widths.ffn;
    widths.shortcut = std::max<int64_t>(widths.shortcut, layer.shortcut_width);
  }
  return widths;
}

bool InParallel(const LayerDescription& layer) { return layer.residual != Residual::kSequential; }
bool AnyInParallel(const ModelDescription& model) {
  return std::any_of(model.layers.begin(), model.layers.end(), InParallel);
}

const float* DataOrNull(const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); }

void NormRow(const NormDescription& norm, const float* weight, const float* bias, const float* x, int64_t n, float* y,
             bool reference) {
  if (norm.kind == NormKind::kRms) return kernels::RmsNorm(x, weight, norm.eps, n, y, reference);
  kernels::LayerNorm(x, weight, bias, norm.eps, n, y, reference);
}

}  // namespace

int64_t Decoder::ScratchBytes(const ModelDescription& model, int64_t max_step_tokens) {
  const Widths widths = WidestLayer(model);
  const int64_t narrow = model.embedding_dim != model.model_dim ? model.embedding_dim : 0;
  // For products, in their form.
  const int64_t copied = std::max({int64_t{model.model_dim}, narrow, widths.q, widths.recurrent, widths.heads,
                                   widths.q_latent, widths.ffn, widths.shortcut});
  const int64_t row = (AnyInParallel(model) ? 3 : 2) * int64_t{model.model_dim} + narrow + 2 * widths.q +
                      2 * widths.kv + 5 * widths.recurrent + widths.heads + widths.q_latent + widths.ffn + widths.gate +
                      widths.shortcut + copied;
  return int64_t{sizeof(float)} * (max_step_tokens * row + model.vocab_size);
}

Decoder::Buffer Decoder::Allocate(int64_t elements) {
  const size_t bytes = (static_cast<size_t>(elements) * sizeof(float) + 63) / 64 * 64;
  auto* memory = static_cast<float*>(std::aligned_alloc(64, bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer(memory);
}

Decoder::Decoder(const ModelDescription& model, const Weights& weights, kernels::Precision precision,
                 int64_t max_step_tokens, kernels::ThreadPool& pool)
    : model_(model),
      weights_(weights),
      reference_(precision == kernels::Precision::kReference),
      max_step_tokens_(max_step_tokens),
      pool_(pool) {
  for (const LayerDescription& layer : model.layers) {
    size_t i = 0;
    while (i < rotations_.size() && !(rotations_[i].description == layer.rope)) ++i;
    if (i == rotations_.size()) {
      const int64_t angles = max_step_tokens * layer.rope.rotary_dim / 2;
      rotations_.push_back({.description = layer.rope,
                            .table = MakeRopeTable(layer.rope),
                            .table_of_span = {},
                            .cos = Allocate(angles),
                            .sin = Allocate(angles)});
    }
    rotation_of_layer_.push_back(i);
  }
  const Widths widths = WidestLayer(model);
  x_ = Allocate(max_step_tokens * model.model_dim);
  h_ = Allocate(max_step_tokens * model.model_dim);
  q_ = Allocate(max_step_tokens * widths.q);
  k_ = Allocate(max_step_tokens * widths.kv);
  v_ = Allocate(max_step_tokens * widths.kv);
  attention_ = Allocate(max_step_tokens * widths.q);
  ffn_ = Allocate(max_step_tokens * widths.ffn);
  for (Buffer& buffer : recurrent_) buffer = Allocate(max_step_tokens * widths.recurrent);
  for (const LayerDescription& layer : model.layers) {
    std::vector<float>& decay = decay_.emplace_back();
    for (const float p : weights.layers[static_cast<size_t>(layer.weights_of_layer)].recurrence_parameter) {
      decay.push_back(-8 * (std::max(p, 0.0f) + std::log1p(std::exp(-std::abs(p)))));
    }
  }
  heads_ = Allocate(max_step_tokens * widths.heads);
  q_latent_ = Allocate(max_step_tokens * widths.q_latent);
  gate_ = Allocate(max_step_tokens * widths.gate);
  shortcut_ = Allocate(max_step_tokens * widths.shortcut);
  if (weights.embedding_in != nullptr) narrow_ = Allocate(max_step_tokens * model.embedding_dim);
  if (AnyInParallel(model)) branch_ = Allocate(max_step_tokens * model.model_dim);
  rows_.reserve(static_cast<size_t>(max_step_tokens));
}

const float* Decoder::Norm(const NormDescription& norm, const std::vector<float>& weight,
                           const std::vector<float>& bias, const float* x, float* y) {
  if (norm.kind == NormKind::kNone) return x;
  const int64_t d = model_.model_dim;
  ForRows(row_count_, d, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      NormRow(norm, DataOrNull(weight), DataOrNull(bias), x + r * d, d, y + r * d, reference_);
    }
  });
  return y;
}

void Decoder::SetRows(std::span<const BatchSpan> batch) {
  rows_.clear();
  first_row_.clear();
  for (size_t s = 0; s < batch.size(); ++s) {
    first_row_.push_back(static_cast<int64_t>(rows_.size()));
    for (size_t t = 0; t < batch[s].tokens.size(); ++t) {
      rows_.push_back({.span = static_cast<int32_t>(s), .position = batch[s].first_position + static_cast<int64_t>(t)});
    }
  }
  row_count_ = static_cast<int64_t>(rows_.size());
  CHECK_LE(row_count_, max_step_tokens_) << "a step of more tokens than the decoder was made for";
  kv_.resize(batch.size());
  if (block_pointers_.size() < batch.size()) block_pointers_.resize(batch.size());
}

void Decoder::KeepLogitRows(std::span<const BatchSpan> batch, std::initializer_list<Rows> others) {
  // Rows only move towards the front, so that copying in order never overwrites one that is still needed.
  const auto move = [](const Rows& rows, int64_t from, int64_t to, int64_t count) {
    std::memmove(rows.data + to * rows.width, rows.data + from * rows.width,
                 static_cast<size_t>(count * rows.width) * sizeof(float));
  };
  int64_t to = 0;
  for (size_t s = 0; s < batch.size(); ++s) {
    const int64_t kept = batch[s].logit_rows();
    const int64_t from = first_row_[s] + static_cast<int64_t>(batch[s].tokens.size()) - kept;
    if (kept > 0 && from != to) {
      move({.data = x_.get(), .width = model_.model_dim}, from, to, kept);
      for (const Rows& rows : others) move(rows, from, to, kept);
    }
    first_row_[s] = to;
    to += kept;
  }
  row_count_ = to;
}

void Decoder::RunAttention(std::span<const BatchSpan> batch, const KvCache& cache, size_t layer_index, bool last) {
  const LayerDescription& layer = model_.layers[layer_index];
  const AttentionDescription& attention = layer.attention;
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer.weights_of_layer)];
  const LatentDescription& latent = attention.latent;
  const int64_t q_width = int64_t{attention.q_heads} * attention.head_dim;
  const int64_t out_width = int64_t{attention.q_heads} * attention.value_dim;
  const int64_t k_width = int64_t{attention.kv_heads} * attention.head_dim;
  const int64_t v_width = int64_t{attention.kv_heads} * attention.value_dim;

  activations_.Set(Norm(layer.attention_norm, weights.attention_norm, weights.attention_norm_bias, x_.get(), h_.get()),
                   row_count_, model_.model_dim);
  Project(layer, weights);
  for (size_t s = 0; s < batch.size(); ++s) {
    kv_[s] = cache.Layer(static_cast<int>(layer_index), *batch[s].kv, block_pointers_[s]);
  }
  const Rotation& rotation = rotations_[rotation_of_layer_[layer_index]];
  ForRows(row_count_, q_width + k_width + v_width, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Row& row = rows_[static_cast<size_t>(r)];
      const float* const k = &k_[static_cast<size_t>(r * k_width)];
      const float* v = &v_[static_cast<size_t>(r * v_width)];
      if (latent.kv_rank > 0) {
        PrepareLatent(layer, weights, rotation, r);
        v = k;  // its beginning
      } else {
        PrepareHeads(layer, weights, rotation, r);
      }
      kernels::StoreKv(kv_[static_cast<size_t>(row.span)], row.position, 1, k, k_width, v, v_width);
    }
  });

  if (last) {
    KeepLogitRows(batch, {{.data = q_.get(), .width = q_width},
                          {.data = heads_.get(), .width = int64_t{attention.q_heads} * latent.query_dim()},
                          {.data = shortcut_.get(), .width = layer.shortcut_width}});
  }
  attention_spans_.clear();
  for (size_t s = 0; s < batch.size(); ++s) {
    const int64_t tokens = static_cast<int64_t>(batch[s].tokens.size());
    const int64_t computed = last ? batch[s].logit_rows() : tokens;
    if (computed == 0) continue;
    attention_spans_.push_back({.kv = kv_[s],
                                .q = &q_[static_cast<size_t>(first_row_[s] * q_width)],
                                .q_stride = q_width,
                                .out = &attention_[static_cast<size_t>(first_row_[s] * out_width)],
                                .out_stride = out_width,
                                .tokens = static_cast<int>(computed),
                                .first_position = batch[s].first_position + tokens - computed});
  }
  if (attention_spans_.empty()) return;
  if (latent.kv_rank > 0) {
    weights.key_up->Multiply({.x = heads_.get(),
                              .x_stride = int64_t{attention.q_heads} * latent.query_dim(),
                              .x_block_stride = latent.query_dim(),
                              .y = q_.get(),
                              .y_stride = q_width,
                              .y_block_stride = attention.head_dim,
                              .rows = row_count_},
                             pool_);
  }
  // Also in reference precision: over f32 keys and values it is f32 throughout, and the plain loops (which the scalar
  // instruction set uses) take minutes for a long text.
  kernels::Attention(attention_spans_,
                     {.q_heads = attention.q_heads,
                      .scale = attention.scale,
                      .window = attention.window,
                      .softcap = attention.softcap,
                      .slopes = DataOrNull(attention.slopes)},
                     pool_);
  if (latent.kv_rank > 0) {
    const int64_t width = int64_t{attention.q_heads} * latent.value_dim;
    weights.value_up->Multiply({.x = attention_.get(),
                                .x_stride = out_width,
                                .x_block_stride = attention.value_dim,
                                .y = heads_.get(),
                                .y_stride = width,
                                .y_block_stride = latent.value_dim,
                                .rows = row_count_},
                               pool_);
    activations_.Set(heads_.get(), row_count_, width);
  } else {
    activations_.Set(attention_.get(), row_count_, out_width);
  }
  AddBranch(layer, {.weights = weights.attention_out.get(),
                    .bias = &weights.attention_out_bias,
                    .post_norm = &layer.attention_post_norm,
                    .post_norm_weight = &weights.attention_post_norm,
                    .sum_norm = &layer.attention_sum_norm,
                    .sum_norm_weight = &weights.attention_sum_norm,
                    .sum_norm_bias = &weights.attention_sum_norm_bias,
                    .waits = InParallel(layer)});
  if (layer.shortcut_width == 0) return;
  activations_.Set(shortcut_.get(), row_count_, layer.shortcut_width);
  AddBranch(layer, {.weights = weights.shortcut_up.get()});
}

void Decoder::Project(const LayerDescription& layer, const LayerWeights& weights) {
  const LatentDescription& latent = layer.attention.latent;
  const kernels::Product shortcut = {.weights = weights.shortcut_down.get(),
                                     .y = shortcut_.get(),
                                     .activation = kernels::ActivationKind::kGelu,
                                     .reference = reference_};
  const size_t without_shortcut = layer.shortcut_width == 0 ? 1 : 0;
  if (latent.kv_rank == 0) {
    const kernels::Product products[] = {
        {.weights = weights.q.get(), .y = q_.get(), .bias = DataOrNull(weights.q_bias)},
        {.weights = weights.k.get(), .y = k_.get(), .bias = DataOrNull(weights.k_bias)},
        {.weights = weights.v.get(), .y = v_.get(), .bias = DataOrNull(weights.v_bias)},
        shortcut};
    return kernels::Multiply(std::span(products).first(4 - without_shortcut), activations_, pool_);
  }
  const kernels::Product down[] = {{.weights = weights.q_down.get(), .y = q_latent_.get()},
                                   {.weights = weights.kv_down.get(), .y = k_.get()},
                                   shortcut};
  kernels::Multiply(std::span(down).first(3 - without_shortcut), activations_, pool_);
  ForRows(row_count_, latent.q_rank, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* const q = &q_latent_[static_cast<size_t>(r * latent.q_rank)];
      NormRow(latent.norm, weights.q_down_norm.data(), nullptr, q, latent.q_rank, q, reference_);
    }
  });
  activations_.Set(q_latent_.get(), row_count_, latent.q_rank);
  const kernels::Product up = {.weights = weights.q_up.get(), .y = heads_.get()};
  kernels::Multiply({&up, 1}, activations_, pool_);
}

void Decoder::PrepareLatent(const LayerDescription& layer, const LayerWeights& weights, const Rotation& rotation,
                            int64_t row) {
  const AttentionDescription& attention = layer.attention;
  const LatentDescription& latent = attention.latent;
  const int64_t angles = rotation.table.rotary_dim / 2;
  const float* const cos = &rotation.cos[static_cast<size_t>(row * angles)];
  const float* const sin = &rotation.sin[static_cast<size_t>(row * angles)];
  float* const k = &k_[static_cast<size_t>(row * attention.head_dim)];
  NormRow(latent.norm, weights.kv_down_norm.data(), nullptr, k, latent.kv_rank, k, reference_);
  kernels::RopeRotate(rotation.table, cos, sin, 1, attention.head_dim, k + latent.kv_rank);
  for (int64_t head = 0; head < attention.q_heads; ++head) {
    const int64_t at = row * attention.q_heads + head;
    float* const q = &q_[static_cast<size_t>(at * attention.head_dim + latent.kv_rank)];
    std::copy_n(&heads_[static_cast<size_t>(at * latent.query_dim() + latent.plain_dim)], latent.rotary_dim, q);
    kernels::RopeRotate(rotation.table, cos, sin, 1, attention.head_dim, q);
  }
}

void Decoder::PrepareHeads(const LayerDescription& layer, const LayerWeights& weights, const Rotation& rotation,
                           int64_t row) {
  const AttentionDescription& attention = layer.attention;
  const int64_t q_width = int64_t{attention.q_heads} * attention.head_dim;
  const int64_t kv_width = int64_t{attention.kv_heads} * attention.head_dim;
  float* const q = &q_[static_cast<size_t>(row * q_width)];
  float* const k = &k_[static_cast<size_t>(row * kv_width)];
  float* const v = &v_[static_cast<size_t>(row * kv_width)];
  const auto clip = [&](float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = std::clamp(x[i], -attention.clip, attention.clip);
  };
  if (attention.clip > 0) {
    clip(q, q_width);
    clip(k, kv_width);
    clip(v, kv_width);
  }
  const auto norm = [&](const std::vector<float>& weight, float* x, int64_t width) {
    const int64_t n = attention.qk_norm_over_heads ? width : attention.head_dim;
    for (int64_t at = 0; at < width; at += n) {
      const float* const own = weight.data() + (attention.qk_norm_of_each_head ? at : 0);
      NormRow(attention.qk_norm, own, nullptr, x + at, n, x + at, reference_);
    }
  };
  if (attention.qk_norm.kind != NormKind::kNone) {
    norm(weights.q_norm, q, q_width);
    norm(weights.k_norm, k, kv_width);
  }
  const int64_t position = rows_[static_cast<size_t>(row)].position;
  if (attention.logn_tokens > 0 && position >= attention.logn_tokens) {
    const double own = static_cast<double>(position + 1), base = static_cast<double>(attention.logn_tokens);
    kernels::ScaleInPlace(q, static_cast<float>(std::log(own) / std::log(base)), q_width);
  }
  const int64_t angles = rotation.table.rotary_dim / 2;
  if (angles == 0) return;
  const float* const cos = &rotation.cos[static_cast<size_t>(row * angles)];
  const float* const sin = &rotation.sin[static_cast<size_t>(row * angles)];
  kernels::RopeRotate(rotation.table, cos, sin, attention.q_heads, attention.head_dim, q);
  kernels::RopeRotate(rotation.table, cos, sin, attention.kv_heads, attention.head_dim, k);
}

void Decoder::AddBranch(const LayerDescription& layer, const Branch& branch) {
  const bool normed = branch.post_norm != nullptr && branch.post_norm->kind != NormKind::kNone;
  const bool as_is = !normed && layer.residual_scale == 1;
  float* const to = branch.waits ? branch_.get() : as_is ? x_.get() : h_.get();
  const kernels::Product product = {.weights = branch.weights,
                                    .y = to,
                                    .bias = branch.bias != nullptr ? DataOrNull(*branch.bias) : nullptr,
                                    .residual = to == x_.get() ? x_.get() : nullptr};
  kernels::Multiply({&product, 1}, activations_, pool_);
  if (normed) Norm(*branch.post_norm, *branch.post_norm_weight, {}, to, to);
  if (to == h_.get()) AddToX(h_.get(), layer.residual_scale);
  if (branch.sum_norm != nullptr) {
    Norm(*branch.sum_norm, *branch.sum_norm_weight, *branch.sum_norm_bias, x_.get(), x_.get());
  }
}

void Decoder::AddToX(const float* y, float scale) {
  const int64_t d = model_.model_dim;
  ForRows(row_count_, d, [&](int64_t begin, int64_t end) {
    kernels::AddInPlace(&x_[static_cast<size_t>(begin * d)], y + begin * d, (end - begin) * d, scale);
  });
}

void Decoder::RunFfn(const LayerDescription& layer) {
  const FfnDescription& ffn = layer.ffn;
  const LayerWeights& own = weights_.layers[static_cast<size_t>(layer.weights_of_layer)];
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer.ffn_weights_of_layer)];
  // One norm for both is worked out again: rows that nobody wants have gone since.
  const float* const input =
      layer.residual == Residual::kParallelOfOneNorm
          ? Norm(layer.attention_norm, own.attention_norm, own.attention_norm_bias, x_.get(), h_.get())
          : Norm(layer.ffn_norm, own.ffn_norm, own.ffn_norm_bias, x_.get(), h_.get());
  activations_.Set(input, row_count_, model_.model_dim);
  if (ffn.series > 0) {
    const kernels::Product products[] = {
        {.weights = weights.ffn_up.get(), .y = ffn_.get(), .bias = DataOrNull(weights.ffn_up_bias)},
        {.weights = weights.ffn_gate.get(), .y = gate_.get(), .bias = DataOrNull(weights.ffn_gate_bias)},
    };
    kernels::Multiply(std::span(products).first(ffn.kind == FfnKind::kGated ? 2 : 1), activations_, pool_);
    ActivateSeries(ffn, weights);
  } else {
    const kernels::Product inner = {.weights = weights.ffn_up.get(),
                                    .y = ffn_.get(),
                                    .bias = DataOrNull(weights.ffn_up_bias),
                                    .activation = ffn.activation,
                                    .gate = weights.ffn_gate.get(),
                                    .gate_bias = DataOrNull(weights.ffn_gate_bias),
                                    .reference = reference_};
    kernels::Multiply({&inner, 1}, activations_, pool_);
  }
  activations_.Set(ffn_.get(), row_count_, ffn.width);
  AddBranch(layer, {.weights = weights.ffn_down.get(),
                    .bias = &weights.ffn_down_bias,
                    .post_norm = &layer.ffn_post_norm,
                    .post_norm_weight = &own.ffn_post_norm,
                    .sum_norm = &layer.ffn_sum_norm,
                    .sum_norm_weight = &own.ffn_sum_norm,
                    .sum_norm_bias = &own.ffn_sum_norm_bias});
  if (InParallel(layer)) AddToX(branch_.get(), layer.residual_scale);
}

void Decoder::ActivateSeries(const FfnDescription& ffn, const LayerWeights& weights) {
  const bool gated = ffn.kind == FfnKind::kGated;
  const int64_t n = ffn.width;
  ForRows(row_count_, n * ffn.series, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* const up = &ffn_[static_cast<size_t>(r * n)];
      float* const z = gated ? &gate_[static_cast<size_t>(r * n)] : up;
      kernels::ActivateSeries(ffn.activation, ffn.series, weights.ffn_series_scale.data(),
                              weights.ffn_series_bias.data(), z, n, reference_);
      if (gated) kernels::GateMul(kernels::ActivationKind::kNone, up, z, n, reference_);
    }
  });
}

void Decoder::LookUp(std::span<const BatchSpan> batch) {
  const bool projected = weights_.embedding_in != nullptr;
  const int64_t e = model_.embedding_dim;
  float* const to = projected ? narrow_.get() : x_.get();
  ForRows(row_count_, e, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Row& row = rows_[static_cast<size_t>(r)];
      const BatchSpan& span = batch[static_cast<size_t>(row.span)];
      weights_.embedding->DequantizeRow(span.tokens[static_cast<size_t>(row.position - span.first_position)],
                                        to + r * e);
      if (model_.embedding_scale != 1) kernels::ScaleInPlace(to + r * e, model_.embedding_scale, e);
    }
  });
  if (!projected) return;
  activations_.Set(to, row_count_, e);
  const kernels::Product product = {.weights = weights_.embedding_in.get(), .y = x_.get()};
  kernels::Multiply({&product, 1}, activations_, pool_);
}

void Decoder::Embed(std::span<const BatchSpan> batch) {
  const int64_t d = model_.model_dim;
  for (Rotation& rotation : rotations_) {
    if (!rotation.description.DependsOnLength()) continue;
    rotation.table_of_span.clear();
    for (const BatchSpan& span : batch) {
      rotation.table_of_span.push_back(MakeRopeTable(rotation.description, span.sequence_tokens));
    }
  }
  LookUp(batch);
  ForRows(row_count_, d, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Row& row = rows_[static_cast<size_t>(r)];
      float* const x = &x_[static_cast<size_t>(r * d)];
      if (weights_.positions != nullptr) {
        float* const position = &h_[static_cast<size_t>(r * d)];
        weights_.positions->DequantizeRow(row.position, position);
        kernels::AddInPlace(x, position, d);
      }
      for (Rotation& rotation : rotations_) {
        const size_t angles = static_cast<size_t>(rotation.table.rotary_dim / 2);
        const kernels::RopeTable& table =
            rotation.table_of_span.empty() ? rotation.table : rotation.table_of_span[static_cast<size_t>(row.span)];
        kernels::RopeAngles(table, row.position, &rotation.cos[static_cast<size_t>(r) * angles],
                            &rotation.sin[static_cast<size_t>(r) * angles]);
      }
    }
  });
  Norm(model_.embedding_norm, weights_.embedding_norm, weights_.embedding_norm_bias, x_.get(), x_.get());
}

StepOutput Decoder::Output(std::span<const BatchSpan> batch) {
  wanted_.clear();
  for (const BatchSpan& span : batch) {
    wanted_.insert(wanted_.end(), static_cast<size_t>(span.logit_rows()),
                   span.logits == BatchSpan::Logits::kLast ? span.best : 0);
  }
  const int64_t whole = std::count(wanted_.begin(), wanted_.end(), 0);
  if (whole > logit_capacity_) {
    logits_ = Allocate(whole * model_.vocab_size);
    logit_capacity_ = whole;
  }
  // x itself where there is no norm: nothing needs it any more.
  const float* const normed =
      Norm(model_.final_norm, weights_.final_norm, weights_.final_norm_bias, x_.get(), h_.get());
  float* const final = normed == x_.get() ? x_.get() : h_.get();
  const int64_t d = model_.model_dim;
  if (model_.output_scale != 1) kernels::ScaleInPlace(final, model_.output_scale, row_count_ * d);
  activations_.Set(final, row_count_, d);
  if (weights_.embedding_out != nullptr) {
    const kernels::Product product = {.weights = weights_.embedding_out.get(), .y = narrow_.get()};
    kernels::Multiply({&product, 1}, activations_, pool_);
    activations_.Set(narrow_.get(), row_count_, model_.embedding_dim);
  }
  output_.Multiply({.weights = &weights_.output_matrix(),
                    .y = logits_.get(),
                    .bias = DataOrNull(weights_.output_bias),
                    .softcap = model_.output_softcap,
                    .reference = reference_},
                   activations_, wanted_, pool_);
  best_.clear();
  for (int64_t r = 0; r < row_count_; ++r) {
    if (wanted_[static_cast<size_t>(r)] != 0) best_.push_back(output_.Of(r));
  }
  return {.logits = {logits_.get(), static_cast<size_t>(whole * model_.vocab_size)}, .best = best_};
}

StepOutput Decoder::Forward(std::span<const BatchSpan> batch, KvCache& cache) {
  SetRows(batch);
  Embed(batch);
  for (size_t l = 0; l < model_.layers.size(); ++l) {
    const LayerDescription& layer = model_.layers[l];
    const bool last = l + 1 == model_.layers.size();
    if (layer.recurrent.width > 0) {
      RunRecurrent(batch, cache, l, last);
    } else {
      RunAttention(batch, cache, l, last);
    }
    if (row_count_ == 0) return {};  // only keys and values were wanted
    RunFfn(layer);
  }
  return Output(batch);
}

}  // namespace linnet::worker
