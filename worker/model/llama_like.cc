#include "worker/model/llama_like.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/strings.h"
#include "worker/model/gguf_keys.h"

namespace linnet::worker {
namespace {

constexpr TensorNaming kTensors[] = {
    {TensorRole::kTokenEmbedding, "token_embd.weight"},
    {TensorRole::kFinalNorm, "output_norm.weight"},
    {TensorRole::kOutput, "output.weight"},
    {TensorRole::kRopeFactors, "rope_freqs.weight"},
    {TensorRole::kAttentionNorm, "blk.$.attn_norm.weight"},
    {TensorRole::kQ, "blk.$.attn_q.weight"},
    {TensorRole::kK, "blk.$.attn_k.weight"},
    {TensorRole::kV, "blk.$.attn_v.weight"},
    {TensorRole::kQBias, "blk.$.attn_q.bias"},
    {TensorRole::kKBias, "blk.$.attn_k.bias"},
    {TensorRole::kVBias, "blk.$.attn_v.bias"},
    {TensorRole::kAttentionOut, "blk.$.attn_output.weight"},
    {TensorRole::kAttentionOutBias, "blk.$.attn_output.bias"},
    {TensorRole::kFfnNorm, "blk.$.ffn_norm.weight"},
    {TensorRole::kFfnGate, "blk.$.ffn_gate.weight"},
    {TensorRole::kFfnUp, "blk.$.ffn_up.weight"},
    {TensorRole::kFfnDown, "blk.$.ffn_down.weight"},
};

// Far above any model of interest; keeps products of two of them within int64.
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxDim = 1 << 20;
constexpr int64_t kMaxHeads = 1 << 12;
constexpr int64_t kMaxVocab = 1 << 22;
constexpr int64_t kMaxContext = 1 << 24;
int64_t VocabSize(GgufKeys& keys) {
  const GgufTensor* embedding = keys.file().FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->dims.size() != 2) return 0;  // the tensor check complains about it
  const int64_t rows = embedding->dims[1];
  if (rows > kMaxVocab) {
    keys.Complain(base::StrCat("token_embd.weight has ", rows, " rows, more than ", kMaxVocab));
    return 0;
  }
  const int64_t stated = keys.IntOr("vocab_size", rows, 1, kMaxVocab);
  if (stated != rows) {
    keys.Complain(base::StrCat(keys.Name("vocab_size"), " is ", stated, ", but token_embd.weight has ", rows, " rows"));
  }
  return rows;
}

RopeDescription ReadRope(GgufKeys& keys, int head_dim, bool interleaved) {
  RopeDescription rope;
  rope.interleaved = interleaved;
  rope.theta = keys.PositiveOr("rope.freq_base", 10000.0);
  rope.rotary_dim = static_cast<int>(keys.IntOr("rope.dimension_count", head_dim, 2, head_dim));
  if (rope.rotary_dim % 2 != 0) {
    keys.Complain(base::StrCat(keys.Name("rope.dimension_count"), " is ", rope.rotary_dim, ", must be even"));
  }
  const std::string scaling = keys.StringOr("rope.scaling.type", "none");
  if (scaling == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = keys.Positive("rope.scaling.factor");
  } else if (scaling != "none") {
    keys.Complain(base::StrCat(keys.Name("rope.scaling.type"), " \"", scaling,
                               "\" is not supported (none and linear are, and a rope_freqs.weight tensor)"));
  }
  // Llama 3's scaling comes as a tensor of divisors.
  if (const GgufTensor* factors = keys.file().FindTensor("rope_freqs.weight"); factors != nullptr) {
    if (factors->type != kernels::DType::kF32 || factors->elements() != rope.rotary_dim / 2) {
      keys.Complain(base::StrCat("rope_freqs.weight must be F32 [", rope.rotary_dim / 2, "], is ",
                                 kernels::Info(factors->type).name, " of ", factors->elements(), " elements"));
      return rope;
    }
    if (rope.scaling != RopeScaling::kNone) {
      keys.Complain("both rope_freqs.weight and linear RoPE scaling are given");
    }
    rope.scaling = RopeScaling::kFactors;
    rope.factors.resize(static_cast<size_t>(factors->elements()));
    std::memcpy(rope.factors.data(), factors->data.data(), rope.factors.size() * sizeof(float));
    for (float f : rope.factors) {
      if (!(f > 0) || !std::isfinite(f)) {
        keys.Complain("rope_freqs.weight has a factor that is not positive and finite");
        break;
      }
    }
  }
  return rope;
}

}  // namespace

std::span<const TensorNaming> LlamaLikeTensors() { return kTensors; }

absl::StatusOr<ModelDescription> DescribeLlamaLike(const GgufFile& file, std::string_view architecture,
                                                   const LlamaLikeOptions& options) {
  GgufKeys keys(file, architecture);
  ModelDescription model;
  model.family = architecture;
  if (const auto name = file.GetStringOr("general.name", ""); name.ok()) model.name = *name;

  const int64_t layers = keys.Int("block_count", 1, kMaxLayers);
  model.model_dim = static_cast<int>(keys.Int("embedding_length", 1, kMaxDim));
  model.context_tokens = keys.Int("context_length", 1, kMaxContext);
  model.vocab_size = static_cast<int>(VocabSize(keys));
  model.tied_embeddings = file.FindTensor("output.weight") == nullptr;

  LayerDescription layer;
  AttentionDescription& attention = layer.attention;
  attention.q_heads = static_cast<int>(keys.Int("attention.head_count", 1, kMaxHeads));
  attention.kv_heads = static_cast<int>(keys.IntOr("attention.head_count_kv", attention.q_heads, 1, kMaxHeads));
  if (attention.q_heads % attention.kv_heads != 0) {
    keys.Complain(base::StrCat(keys.Name("attention.head_count"), " ", attention.q_heads, " is not a multiple of ",
                               keys.Name("attention.head_count_kv"), " ", attention.kv_heads));
  }
  const int64_t default_head_dim = std::max<int64_t>(1, model.model_dim / attention.q_heads);
  attention.head_dim = static_cast<int>(keys.IntOr("attention.key_length", default_head_dim, 2, 4096));
  if (const int64_t value_length = keys.IntOr("attention.value_length", attention.head_dim, 2, 4096);
      value_length != attention.head_dim) {
    keys.Complain(base::StrCat(keys.Name("attention.value_length"), " ", value_length, " differs from the key length ",
                               attention.head_dim, ", which is not supported"));
  }
  attention.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(attention.head_dim)));
  attention.qkv_bias = options.qkv_bias || file.FindTensor("blk.0.attn_q.bias") != nullptr;
  attention.out_bias = file.FindTensor("blk.0.attn_output.bias") != nullptr;

  layer.ffn.width = static_cast<int>(keys.Int("feed_forward_length", 1, kMaxDim));
  const NormDescription norm = {.kind = NormKind::kRms,
                                .eps = static_cast<float>(keys.Positive("attention.layer_norm_rms_epsilon"))};
  layer.attention_norm = layer.ffn_norm = model.final_norm = norm;
  layer.rope = ReadRope(keys, attention.head_dim, options.interleaved_rope);
  if (const int64_t experts = keys.IntOr("expert_count", 0, 0, kMaxDim); experts > 0) {
    keys.Complain(base::StrCat("a mixture of ", experts, " experts is not supported"));
  }
  if (absl::Status status = keys.status(); !status.ok()) return status;

  for (int i = 0; i < layers; ++i) {
    layer.weights_of_layer = i;
    model.layers.push_back(layer);
  }
  return model;
}

}  // namespace linnet::worker
