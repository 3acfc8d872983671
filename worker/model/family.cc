#include "worker/model/family.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "worker/model/gguf_names.h"

namespace linnet::worker {
namespace {

constexpr float kBigPositive = 1e6f;
constexpr int64_t kMostRepeats = 16;
constexpr int64_t kMostRank = 1 << 14;
constexpr int64_t kMostShortcut = 1 << 16;
constexpr int64_t kMostWindow = int64_t{1} << 40;  // may well be above the context

float PositiveFloat(GgufKeys& keys, std::string_view key, double fallback) {
  const double value = keys.PositiveOr(key, fallback);
  if (value > kBigPositive) keys.Complain(keys.Name(key) + " is too large to be true");
  return static_cast<float>(value);
}

// Gemma's 27B models divide scores by the root of the model's width over its heads, instead of that of a head's width.
// No key says so: they are known by how many layers they have, to llama.cpp too.
void ScaleAs27B(ModelDescription& model, size_t layers_of_27b) {
  if (model.layers.size() != layers_of_27b) return;
  for (LayerDescription& layer : model.layers) {
    const int divisor = std::max(1, model.model_dim / layer.attention.q_heads);
    layer.attention.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(divisor)));
  }
}

void Gemma2(GgufKeys& keys, ModelDescription& model) {
  ScaleAs27B(model, 46);
  model.output_softcap = PositiveFloat(keys, "final_logit_softcapping", 30);
  const int64_t window = keys.Int("attention.sliding_window", 1, kMostWindow);
  const float softcap = PositiveFloat(keys, "attn_logit_softcapping", 50);
  for (size_t l = 0; l < model.layers.size(); ++l) {
    model.layers[l].attention.softcap = softcap;
    if (l % 2 == 0) model.layers[l].attention.window = window;
  }
}

// Five layers of a window, which have a RoPE of their own, then one without.
void Gemma3(GgufKeys& keys, ModelDescription& model) {
  ScaleAs27B(model, 62);
  const int64_t window = keys.Int("attention.sliding_window", 1, kMostWindow);
  const double theta = keys.PositiveOr("rope.freq_base_swa", 10000);
  for (size_t l = 0; l < model.layers.size(); ++l) {
    if (l % 6 == 5) continue;
    LayerDescription& layer = model.layers[l];
    layer.attention.window = window;
    layer.rope.theta = theta;
    layer.rope.scaling = RopeScaling::kNone;
    layer.rope.factor = 1;
  }
}

void RecurrentGemma(GgufKeys& keys, ModelDescription& model) {
  model.output_softcap = PositiveFloat(keys, "final_logit_softcapping", 30);
  // Its embeddings are multiplied by what bf16 keeps of the root, whatever the type of the rest.
  const auto bits = std::bit_cast<uint32_t>(model.embedding_scale);
  model.embedding_scale = std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
  const int64_t window = keys.Int("attention.sliding_window", 1, kMostWindow);
  for (LayerDescription& layer : model.layers) {
    if (layer.recurrent.width == 0) layer.attention.window = window;
  }
}

void WindowInEveryLayer(GgufKeys& keys, ModelDescription& model) {
  const int64_t window = keys.IntOr("attention.sliding_window", 0, 0, kMostWindow);
  for (LayerDescription& layer : model.layers) layer.attention.window = window;
}

void GptNeoX(GgufKeys& keys, ModelDescription& model) {
  if (keys.BoolOr("use_parallel_residual", true)) return;
  for (LayerDescription& layer : model.layers) layer.residual = Residual::kSequential;
}

bool HasTensor(const GgufKeys& keys, TensorRole role) {
  return keys.file().FindTensor(GgufTensorName(role, 0)) != nullptr;
}

// Files of sequential models claim a parallel residual too: llama.cpp's converter takes it for what is not stated, and
// its reader goes by the FFN's norm. The parallel ones also norm each head with weights of its own.
void StableLm(GgufKeys& keys, ModelDescription& model) {
  const bool parallel = keys.BoolOr("use_parallel_residual", false) && !HasTensor(keys, TensorRole::kFfnNorm);
  const bool head_norms = HasTensor(keys, TensorRole::kQNorm);
  for (LayerDescription& layer : model.layers) {
    if (head_norms) layer.attention.qk_norm = {.kind = NormKind::kLayer, .eps = layer.attention_norm.eps};
    layer.attention.qk_norm_of_each_head = head_norms;
    if (!parallel) continue;
    layer.residual = Residual::kParallelOfOneNorm;
    layer.ffn_norm = {};
  }
}

void Olmo(GgufKeys& keys, ModelDescription& model) {
  if (!keys.Has("attention.clamp_kqv")) return;
  const float clip = PositiveFloat(keys, "attention.clamp_kqv", 1);
  for (LayerDescription& layer : model.layers) layer.attention.clip = clip;
}

// OPT-350M has its norms behind the residuals, and so none at the end.
void Opt(GgufKeys& keys, ModelDescription& model) {
  if (!keys.BoolOr("norm_after_residual", false)) return;
  for (LayerDescription& layer : model.layers) {
    layer.attention_sum_norm = std::exchange(layer.attention_norm, {});
    layer.ffn_sum_norm = std::exchange(layer.ffn_norm, {});
  }
  model.final_norm = {};
}

// Each stored block runs several times in succession, with a KV cache of its own each time (Liu et al.,
// arXiv 2402.14905, immediate block-wise sharing).
void MobileLlm(GgufKeys& keys, ModelDescription& model) {
  const auto repeat = static_cast<size_t>(keys.IntOr("block_repeat", 1, 1, kMostRepeats));
  std::vector<LayerDescription> layers;
  for (const LayerDescription& layer : model.layers) layers.insert(layers.end(), repeat, layer);
  model.layers = std::move(layers);
}

// All layers may have the first one's FFN (Thawakar et al., arXiv 2402.16840).
void MobiLlama(GgufKeys& keys, ModelDescription& model) {
  if (!keys.BoolOr("feed_forward_shared", false)) return;
  for (LayerDescription& layer : model.layers) {
    layer.ffn_weights_of_layer = 0;
    if (layer.ffn.width == model.layers[0].ffn.width) continue;
    keys.Complain(keys.Name("feed_forward_shared") + " goes with one feed_forward_length for all layers");
    return;
  }
}

void PanguPi(GgufKeys& keys, ModelDescription& model) {
  for (LayerDescription& layer : model.layers) {
    layer.shortcut_width = static_cast<int>(keys.IntOr("shortcut_length", 0, 0, kMostShortcut));
    layer.ffn.series = static_cast<int>(keys.IntOr("series_activation_count", 0, 0, kMostRepeats));
  }
}

// The first Qwen states the width of gate and up together.
void Qwen(GgufKeys& keys, ModelDescription& model) {
  const int64_t logn_tokens = keys.IntOr("attention.logn_length", 0, 0, kMostWindow);
  if (logn_tokens == 1) keys.Complain(keys.Name("attention.logn_length") + " must be at least 2");
  for (LayerDescription& layer : model.layers) {
    layer.ffn.width /= 2;
    layer.attention.logn_tokens = logn_tokens;
  }
}

// Every fourth layer has no positions.
void SmolLm3(GgufKeys&, ModelDescription& model) {
  for (size_t l = 3; l < model.layers.size(); l += 4) model.layers[l].rope = {};
}

void SetScales(GgufKeys& keys, ModelDescription& model, double embedding, double residual, double output_divisor) {
  model.embedding_scale = PositiveFloat(keys, "embedding_scale", embedding);
  model.output_scale = 1 / PositiveFloat(keys, "logit_scale", output_divisor);
  const float branch = PositiveFloat(keys, "residual_scale", residual);
  for (LayerDescription& layer : model.layers) {
    layer.residual_scale = branch;
    layer.attention.scale = PositiveFloat(keys, "attention.scale", layer.attention.scale);
  }
}
void Granite(GgufKeys& keys, ModelDescription& model) { SetScales(keys, model, 1, 1, 1); }
// Early files leave to the reader what all of its models have in common.
void MiniCpm(GgufKeys& keys, ModelDescription& model) {
  SetScales(keys, model, 12, 1.4 / std::sqrt(static_cast<double>(model.layers.size())), model.model_dim / 256.0);
}

// Of the same scales, with latent attention. Its norms have an eps that no key states.
void MiniCpm3(GgufKeys& keys, ModelDescription& model) {
  MiniCpm(keys, model);
  const auto q_rank = static_cast<int>(keys.Int("attention.q_lora_rank", 1, kMostRank));
  const auto kv_rank = static_cast<int>(keys.Int("attention.kv_lora_rank", 1, kMostRank));
  for (LayerDescription& layer : model.layers) {
    AttentionDescription& attention = layer.attention;
    const int64_t value_dim =
        keys.IntOr("attention.value_length", std::max(1, model.model_dim / attention.q_heads), 1, kMostRank);
    attention.latent = {.q_rank = q_rank,
                        .kv_rank = kv_rank,
                        .plain_dim = attention.head_dim - layer.rope.rotary_dim,
                        .rotary_dim = layer.rope.rotary_dim,
                        .value_dim = static_cast<int>(value_dim),
                        .norm = {.kind = NormKind::kRms, .eps = 1e-6f}};
    if (attention.latent.plain_dim < 1) keys.Complain(keys.Name("rope.dimension_count") + " leaves nothing of a head");
    attention.kv_heads = 1;
    attention.head_dim = kv_rank + layer.rope.rotary_dim;
    attention.value_dim = kv_rank;
  }
}

using enum kernels::ActivationKind;

constexpr Family kFamilies[] = {
    {.architecture = "bloom",
     .models = "BLOOM, BLOOMZ",
     .norm = NormKind::kLayer,
     .embedding_norm = true,
     .positions = Positions::kAlibi,
     .qkv_bias = Biases::kAll,
     .other_biases = Biases::kAll,
     .ffn = FfnKind::kPlain,
     .activation = kGeluTanh},
    {.architecture = "gemma", .models = "Gemma", .activation = kGeluTanh, .scaled_embeddings = true},
    {.architecture = "gemma2",
     .models = "Gemma 2",
     .post_norms = true,
     .activation = kGeluTanh,
     .scaled_embeddings = true,
     .particulars = Gemma2},
    {.architecture = "gemma3",
     .models = "Gemma 3 (text)",
     .post_norms = true,
     .qk_norm = QkNorm::kPerHead,
     .activation = kGeluTanh,
     .scaled_embeddings = true,
     .particulars = Gemma3},
    {.architecture = "gpt2",
     .models = "GPT-2, LaMini-GPT, Cerebras-GPT",
     .norm = NormKind::kLayer,
     .positions = Positions::kLearned,
     .qkv_bias = Biases::kAll,
     .other_biases = Biases::kAll,
     .ffn = FfnKind::kPlain,
     .activation = kGeluTanh},
    {.architecture = "gptneox",
     .models = "Pythia, Dolly",
     .norm = NormKind::kLayer,
     .qkv_bias = Biases::kAll,
     .other_biases = Biases::kAll,
     .ffn = FfnKind::kPlain,
     .activation = kGelu,
     .residual = Residual::kParallel,
     .particulars = GptNeoX},
    {.architecture = "granite", .models = "Granite", .positions = Positions::kRopeNeighbours, .particulars = Granite},
    // GGUF stores this architecture's Q and K with each head's rows reordered, so that RoPE turns neighbouring pairs.
    {.architecture = "llama",
     .models =
         "Llama, TinyLlama, SmolLM, SmolLM2, MobileLLaMA, danube, Fox-1, AMD-Llama, Sheared-LLaMA, MiniMA, Mistral",
     .positions = Positions::kRopeNeighbours,
     .particulars = WindowInEveryLayer},
    {.architecture = "minicpm", .models = "MiniCPM", .positions = Positions::kRopeNeighbours, .particulars = MiniCpm},
    {.architecture = "minicpm3", .models = "MiniCPM3", .particulars = MiniCpm3},
    {.architecture = "mobilellm", .models = "MobileLLM", .particulars = MobileLlm},
    {.architecture = "mobillama", .models = "MobiLlama", .particulars = MobiLlama},
    {.architecture = "nemotron",
     .models = "Nemotron, Minitron",
     .norm = NormKind::kLayer,
     .ffn = FfnKind::kPlain,
     .activation = kReluSquared},
    {.architecture = "olmo",
     .models = "OLMo",
     .norm = NormKind::kLayer,
     .norm_weight = false,
     .positions = Positions::kRopeNeighbours,
     .particulars = Olmo},
    {.architecture = "olmo2",
     .models = "OLMo 2",
     .pre_norms = false,
     .post_norms = true,
     .qk_norm = QkNorm::kOverHeads},
    {.architecture = "openelm", .models = "OpenELM", .qk_norm = QkNorm::kPerHead},
    // Norms have no bias, those of queries and keys neither.
    {.architecture = "openlm",
     .models = "DCLM-1B",
     .norm = NormKind::kLayer,
     .norm_bias = false,
     .qk_norm = QkNorm::kOverHeads},
    {.architecture = "opt",
     .models = "OPT, Galactica",
     .norm = NormKind::kLayer,
     .positions = Positions::kLearned,
     .ffn = FfnKind::kPlain,
     .activation = kRelu,
     .particulars = Opt},
    {.architecture = "pangu_pi", .models = "PanGu-π", .particulars = PanguPi},
    {.architecture = "phi2",
     .models = "Phi-1, Phi-1.5, Phi-2",
     .norm = NormKind::kLayer,
     .qkv_bias = Biases::kAll,
     .other_biases = Biases::kAll,
     .output_bias = Biases::kAll,
     .ffn = FfnKind::kPlain,
     .activation = kGeluTanh,
     .residual = Residual::kParallelOfOneNorm},
    {.architecture = "phi3", .models = "Phi-3, Phi-3.5 and Phi-4 mini", .particulars = WindowInEveryLayer},
    {.architecture = "qwen", .models = "Qwen", .qkv_bias = Biases::kAll, .particulars = Qwen},
    {.architecture = "qwen2", .models = "Qwen1.5, Qwen2, Qwen2.5", .qkv_bias = Biases::kAll},
    {.architecture = "qwen3", .models = "Qwen3", .qk_norm = QkNorm::kPerHead},
    {.architecture = "recurrentgemma",
     .models = "RecurrentGemma",
     .qkv_bias = Biases::kNone,
     .other_biases = Biases::kAll,
     .activation = kGeluTanh,
     .recurrent_layers = true,
     .scaled_embeddings = true,
     .particulars = RecurrentGemma},
    {.architecture = "smollm3", .models = "SmolLM3", .positions = Positions::kRopeNeighbours, .particulars = SmolLm3},
    {.architecture = "stablelm", .models = "StableLM, StableLM 2", .norm = NormKind::kLayer, .particulars = StableLm},
};

}  // namespace

std::span<const Family> Families() { return kFamilies; }

const Family* FindFamily(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

}  // namespace linnet::worker
