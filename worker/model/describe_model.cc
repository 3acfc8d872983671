#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/nearest.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/gguf/model_bounds.h"
#include "worker/model/describe_rope.h"
#include "worker/model/family.h"
#include "worker/model/gguf_names.h"

namespace linnet::worker {
namespace {

bool HasTensor(const GgufFile& file, TensorRole role) {
  return file.FindTensor(GgufTensorName(role, 0)) != nullptr || file.FindTensor(GgufFusedName(role, 0)) != nullptr;
}

// Rows of an embedding table; 0: there is none.
int64_t TableRows(GgufKeys& keys, TensorRole role, int64_t most) {
  const std::string name = GgufTensorName(role, 0);
  const GgufTensor* table = keys.file().FindTensor(name);
  if (table == nullptr || table->dims.size() != 2) return 0;
  const int64_t rows = table->dims[1];
  if (rows <= most) return rows;
  keys.Complain(base::StrCat(name, " has ", rows, " rows, more than ", most));
  return 0;
}

int64_t VocabSize(GgufKeys& keys) {
  const int64_t rows = TableRows(keys, TensorRole::kTokenEmbedding, kMaxVocab);
  if (rows == 0) return 0;  // the tensor check complains about it
  const int64_t stated = keys.IntOr("vocab_size", rows, 1, kMaxVocab);
  if (stated != rows) {
    keys.Complain(base::StrCat(keys.Name("vocab_size"), " is ", stated, ", but token_embd.weight has ", rows, " rows"));
  }
  return rows;
}

// The slopes of ALiBi (Press et al., arXiv 2108.12409): 2^(-8 h / heads) for a power of two, which others are filled up
// to from the next larger one's.
std::vector<float> AlibiSlopes(int heads) {
  const int power = static_cast<int>(std::bit_floor(static_cast<unsigned>(heads)));
  std::vector<float> slopes;
  for (int h = 1; h <= power; ++h) slopes.push_back(static_cast<float>(std::exp2(-8.0 * h / power)));
  for (int h = 1; static_cast<int>(slopes.size()) < heads; h += 2) {
    slopes.push_back(static_cast<float>(std::exp2(-4.0 * h / power)));
  }
  return slopes;
}

// Of the family, but where the file names another: Cerebras-GPT is GPT-2 with the exact GELU.
kernels::ActivationKind ReadActivation(GgufKeys& keys, kernels::ActivationKind fallback) {
  using enum kernels::ActivationKind;
  constexpr std::pair<std::string_view, kernels::ActivationKind> kNames[] = {
      {"gelu", kGelu}, {"gelu_quick", kGeluQuick},     {"gelu_tanh", kGeluTanh},
      {"relu", kRelu}, {"relu_squared", kReluSquared}, {"silu", kSilu}};
  const std::string stated = keys.StringOr("hidden_activation", "");
  if (stated.empty()) return fallback;
  for (const auto& [name, kind] : kNames) {
    if (name == stated) return kind;
  }
  keys.Complain(base::StrCat(keys.Name("hidden_activation"), " \"", stated,
                             "\" is not supported (gelu, gelu_quick, gelu_tanh, relu, relu_squared and silu are)"));
  return fallback;
}

bool WithBias(const GgufFile& file, Biases biases, TensorRole role) {
  return biases == Biases::kAll || (biases == Biases::kAsInFile && HasTensor(file, role));
}

AttentionDescription Attention(GgufKeys& keys, const Family& family, int q_heads, int kv_heads, int head_dim,
                               const NormDescription& norm) {
  AttentionDescription attention = {
      .q_heads = q_heads, .kv_heads = kv_heads, .head_dim = head_dim, .value_dim = head_dim};
  if (q_heads % kv_heads != 0) {
    keys.Complain(base::StrCat(keys.Name("attention.head_count"), " ", q_heads, " is not a multiple of ",
                               keys.Name("attention.head_count_kv"), " ", kv_heads));
  }
  attention.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  attention.qkv_bias = WithBias(keys.file(), family.qkv_bias, TensorRole::kQBias);
  attention.out_bias = WithBias(keys.file(), family.other_biases, TensorRole::kAttentionOutBias);
  if (family.qk_norm != QkNorm::kNone) attention.qk_norm = {.kind = norm.kind, .eps = norm.eps};
  attention.qk_norm_over_heads = family.qk_norm == QkNorm::kOverHeads;
  if (family.positions == Positions::kAlibi) attention.slopes = AlibiSlopes(q_heads);
  return attention;
}

RecurrentDescription ReadRecurrent(GgufKeys& keys, int model_dim, kernels::ActivationKind activation) {
  const auto width = static_cast<int>(keys.IntOr("rglru.width", model_dim, 1, kMaxDim));
  const auto heads = static_cast<int>(keys.Int("rglru.head_count", 1, kMaxHeads));
  if (width % heads != 0) {
    keys.Complain(base::StrCat(keys.Name("rglru.width"), " ", width, " is not a multiple of ",
                               keys.Name("rglru.head_count"), " ", heads));
  }
  return {.width = width,
          .heads = heads,
          .taps = static_cast<int>(keys.IntOr("rglru.conv_kernel", 4, 1, 64)),
          .activation = activation};
}

int HeadDim(GgufKeys& keys, int model_dim, int64_t q_heads) {
  const int64_t fallback = std::max<int64_t>(1, model_dim / q_heads);
  const int64_t head_dim = keys.IntOr("attention.key_length", fallback, 2, 4096);
  const int64_t value_length = keys.IntOr("attention.value_length", head_dim, 2, 4096);
  if (value_length != head_dim && !keys.Has("attention.kv_lora_rank")) {
    keys.Complain(base::StrCat(keys.Name("attention.value_length"), " ", value_length, " differs from the key length ",
                               head_dim, ", which is not supported"));
  }
  return static_cast<int>(head_dim);
}

NormDescription ReadNorm(GgufKeys& keys, const Family& family) {
  const bool rms = family.norm == NormKind::kRms;
  return {.kind = family.norm,
          .eps = static_cast<float>(
              keys.Positive(rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon")),
          .weight = family.norm_weight,
          .bias = !rms && family.norm_weight && family.norm_bias};
}

void DescribeLayers(GgufKeys& keys, const Family& family, const NormDescription& norm, ModelDescription& model) {
  const int64_t layers = keys.Int("block_count", 1, kMaxLayers);
  const std::vector<int64_t> q_heads = keys.IntPerLayer("attention.head_count", layers, 1, kMaxHeads);
  const std::vector<int64_t> kv_heads =
      keys.Has("attention.head_count_kv")
          ? keys.IntPerLayer("attention.head_count_kv", layers, family.recurrent_layers ? 0 : 1, kMaxHeads)
          : q_heads;
  const std::vector<int64_t> widths = keys.IntPerLayer("feed_forward_length", layers, 1, kMaxDim);
  const int head_dim = HeadDim(keys, model.model_dim, q_heads[0]);
  const bool with_rope = family.positions == Positions::kRopeHalves || family.positions == Positions::kRopeNeighbours;
  LayerDescription layer = {.residual = family.residual};
  if (with_rope) {
    layer.rope = ReadRope(keys, head_dim, family.positions == Positions::kRopeNeighbours, model.context_tokens);
  }
  if (family.pre_norms) layer.attention_norm = layer.ffn_norm = norm;
  if (family.residual == Residual::kParallelOfOneNorm) layer.ffn_norm = {};
  if (family.post_norms) layer.attention_post_norm = layer.ffn_post_norm = norm;
  layer.ffn = {.kind = family.ffn,
               .activation = ReadActivation(keys, family.activation),
               .up_bias = WithBias(keys.file(), family.other_biases, TensorRole::kFfnUpBias),
               .down_bias = WithBias(keys.file(), family.other_biases, TensorRole::kFfnDownBias)};
  for (size_t l = 0; l < static_cast<size_t>(layers); ++l) {
    if (kv_heads[l] == 0) {
      layer.attention = {};
      layer.recurrent = ReadRecurrent(keys, model.model_dim, family.activation);
    } else {
      layer.attention =
          Attention(keys, family, static_cast<int>(q_heads[l]), static_cast<int>(kv_heads[l]), head_dim, norm);
      layer.recurrent = {};
    }
    layer.ffn.width = static_cast<int>(widths[l]);
    layer.weights_of_layer = layer.ffn_weights_of_layer = static_cast<int>(l);
    model.layers.push_back(layer);
  }
}

absl::StatusOr<const Family*> FamilyOf(const GgufFile& file) {
  const absl::StatusOr<std::string_view> architecture = file.GetString("general.architecture");
  if (!architecture.ok()) return ModelFileError(file.path(), {std::string(architecture.status().message())});
  const Family* family = FindFamily(*architecture);
  if (family != nullptr) return family;
  std::vector<std::string> known;
  for (const Family& f : Families()) known.emplace_back(f.architecture);
  const std::string nearest = base::Nearest(*architecture, known);
  return ModelFileError(
      file.path(), {base::StrCat("architecture \"", *architecture, "\" is not supported (", absl::StrJoin(known, ", "),
                                 " are", nearest.empty() ? "" : "; nearest: ", nearest, ")")});
}

}  // namespace

absl::StatusOr<ModelDescription> DescribeModel(const GgufFile& file) {
  LINNET_ASSIGN_OR_RETURN(const Family* const family, FamilyOf(file));
  GgufKeys keys(file, family->architecture);
  ModelDescription model;
  model.family = family->architecture;
  if (const auto name = file.GetStringOr("general.name", ""); name.ok()) model.name = *name;
  model.model_dim = static_cast<int>(keys.Int("embedding_length", 1, kMaxDim));
  model.embedding_dim = static_cast<int>(keys.IntOr("token_embedding_length", model.model_dim, 1, kMaxDim));
  model.context_tokens = keys.Int("context_length", 1, kMaxContext);
  model.vocab_size = static_cast<int>(VocabSize(keys));
  model.tied_embeddings = !HasTensor(file, TensorRole::kOutput);
  model.output_bias = WithBias(file, family->output_bias, TensorRole::kOutputBias);
  if (family->scaled_embeddings) model.embedding_scale = std::sqrt(static_cast<float>(model.model_dim));
  if (family->positions == Positions::kLearned) {
    model.learned_positions = TableRows(keys, TensorRole::kPositions, kMaxContext);
    if (model.learned_positions == 0) {
      keys.Complain("tensor position_embd.weight is missing, or is no table");
    } else if (model.context_tokens > model.learned_positions) {
      keys.Complain(base::StrCat(keys.Name("context_length"), " is ", model.context_tokens,
                                 ", but position_embd.weight has ", model.learned_positions, " rows"));
    }
  }
  if (const int64_t experts = keys.IntOr("expert_count", 0, 0, kMaxDim); experts > 0) {
    keys.Complain(base::StrCat("a mixture of ", experts, " experts is not supported"));
  }
  const NormDescription norm = ReadNorm(keys, *family);
  if (family->embedding_norm) model.embedding_norm = norm;
  model.final_norm = norm;
  DescribeLayers(keys, *family, norm, model);
  if (family->particulars != nullptr) family->particulars(keys, model);
  LINNET_RETURN_IF_ERROR(keys.status());
  return model;
}

}  // namespace linnet::worker
