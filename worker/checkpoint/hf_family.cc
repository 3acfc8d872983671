#include "worker/checkpoint/hf_family.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"
#include "worker/gguf/model_bounds.h"

namespace linnet::worker {
namespace {

constexpr int64_t kMaxWindow = int64_t{1} << 40;

void Refuse(HfConfig& config, std::string_view key, bool fallback = false) {
  if (config.BoolOr({key}, fallback)) config.Complain(base::StrCat(key, " is true, which is not supported"));
}

// The GGUF architecture has no windows. Within one, nothing differs.
void StayWithinWindow(int64_t window, HfDescription& out) {
  if (window == 0 || window >= out.model.context) return;
  out.notes.push_back(base::StrCat("the model's attention sees the last ", window, " tokens, which \"",
                                   out.family->gguf, "\" cannot say in GGUF: the context is limited to so many"));
  out.model.context = window;
}

// A key of ours: to others this architecture has no windows.
void Mistral(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  const int64_t window = config.IntOr({"sliding_window"}, 0, 0, kMaxWindow);
  if (window > 0 && window < out.model.context) keys.U32("attention.sliding_window", window);
}

// Windows count only where they are switched on, and in the layers that the file names; where it names none, from one
// on that is often behind the last.
void Qwen2(HfConfig& config, HfDescription& out, ArchitectureKeys&) {
  if (!config.BoolOr({"use_sliding_window"}, false)) return;
  const std::vector<std::string> types = config.Strings({"layer_types"});
  const bool some = types.empty() ? config.IntOr({"max_window_layers"}, 0, 0, kMaxWindow) < out.model.layers
                                  : std::find(types.begin(), types.end(), "sliding_attention") != types.end();
  if (!some) return;
  StayWithinWindow(config.IntOr({"sliding_window"}, 0, 0, kMaxWindow), out);
}

// Says which layers have windows, where the file does.
void CheckWindows(HfConfig& config, const HfModel& model, bool (*has_window)(int64_t layer)) {
  const std::vector<std::string> types = config.Strings({"layer_types"});
  if (types.empty() || !model.sized) return;
  for (int64_t l = 0; l < model.layers; ++l) {
    const bool window = l < static_cast<int64_t>(types.size()) && types[static_cast<size_t>(l)] == "sliding_attention";
    if (window == has_window(l) && types.size() == static_cast<size_t>(model.layers)) continue;
    config.Complain("layer_types is not the pattern of windows that GGUF has for this architecture");
    return;
  }
}

// GGUF has no key for it: readers take the width of a head, but of the 27B models, known by their layers, the model's
// width over its heads.
void CheckAttentionScale(HfConfig& config, const HfModel& model, int64_t layers_of_27b) {
  if (!model.sized) return;
  const int64_t known = model.layers == layers_of_27b ? model.model_dim / model.q_heads[0] : model.head_dim;
  const double scalar = config.PositiveOr({"query_pre_attn_scalar"}, static_cast<double>(known));
  if (scalar == static_cast<double>(known)) return;
  config.Complain(base::StrCat("query_pre_attn_scalar is ", scalar, ", and GGUF has ", known,
                               " for this architecture with ", model.layers, " layers"));
}

void Gemma2(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  CheckWindows(config, out.model, [](int64_t layer) { return layer % 2 == 0; });
  CheckAttentionScale(config, out.model, 46);
  keys.U32("attention.sliding_window", config.IntOr({"sliding_window"}, 4096, 1, kMaxWindow));
  keys.F32("attn_logit_softcapping", config.PositiveOr({"attn_logit_softcapping"}, 50));
  keys.F32("final_logit_softcapping", config.PositiveOr({"final_logit_softcapping"}, 30));
}

void Gemma3(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  CheckWindows(config, out.model, [](int64_t layer) { return layer % 6 != 5; });
  if (const int64_t pattern = config.IntOr({"sliding_window_pattern", "_sliding_window_pattern"}, 6, 0, kMaxDim);
      pattern != 6) {
    config.Complain(base::StrCat("sliding_window_pattern is ", pattern, ", and GGUF has 6 for this architecture"));
  }
  CheckAttentionScale(config, out.model, 62);
  for (const std::string_view key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (config.Has({key})) config.Complain(base::StrCat(key, " is not supported for this architecture"));
  }
  keys.U32("attention.sliding_window", config.Int({"sliding_window"}, 1, kMaxWindow));
  const HfRope local = config.Rope("sliding_attention");
  const double theta = local.theta.value_or(config.PositiveOr({"rope_local_base_freq"}, 10000));
  keys.F32("rope.freq_base_swa", theta);
}

void Gpt2(HfConfig& config, HfDescription&, ArchitectureKeys& keys) {
  Refuse(config, "scale_attn_by_inverse_layer_idx");
  if (!config.BoolOr({"scale_attn_weights"}, true))
    config.Complain("scale_attn_weights is false, which is not supported");
  // A key of ours: others compute GELU by its approximation with tanh.
  if (config.StringOr({"activation_function"}, "gelu_new") == "gelu") keys.String("hidden_activation", "gelu");
}

void GptNeoX(HfConfig& config, HfDescription&, ArchitectureKeys& keys) {
  keys.Bool("use_parallel_residual", config.BoolOr({"use_parallel_residual"}, true));
}

void Bloom(HfConfig& config, HfDescription&, ArchitectureKeys&) {
  Refuse(config, "apply_residual_connection_post_layernorm");
}

void StableLm(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  out.model.qkv_bias = ReadBiases(config, "use_qkv_bias");
  const bool parallel = config.BoolOr({"use_parallel_residual"}, false);  // attention's norm is the FFN's too
  keys.Bool("use_parallel_residual", parallel);
  out.tensors.push_back(parallel ? rules::kOneLayerNorm : rules::kLayerNorms);
  if (config.BoolOr({"qk_layernorm"}, false)) out.tensors.push_back(rules::kOwnHeadNorms);
}

void Phi(HfConfig& config, HfDescription&, ArchitectureKeys&) { Refuse(config, "qk_layernorm"); }

void Phi3(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  keys.U32("attention.sliding_window", config.IntOr({"sliding_window"}, 0, 0, kMaxWindow));
  if (out.model.rope.original_context == 0) out.model.rope.original_context = out.model.context;
  keys.U32("rope.scaling.original_context_length", out.model.rope.original_context);
}

void Olmo(HfConfig& config, HfDescription&, ArchitectureKeys& keys) {
  if (config.Has({"clip_qkv"})) keys.F32("attention.clamp_kqv", config.Positive({"clip_qkv"}));
}

void Granite(HfConfig& config, HfDescription&, ArchitectureKeys& keys) {
  keys.F32("attention.scale", config.Positive({"attention_multiplier"}));
  keys.F32("embedding_scale", config.Positive({"embedding_multiplier"}));
  keys.F32("residual_scale", config.Positive({"residual_multiplier"}));
  keys.F32("logit_scale", config.Positive({"logits_scaling"}));
}

void MiniCpm(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  keys.F32("embedding_scale", config.Positive({"scale_emb"}));
  keys.F32("residual_scale", config.Positive({"scale_depth"}) / std::sqrt(static_cast<double>(out.model.layers)));
  keys.F32("logit_scale", static_cast<double>(out.model.model_dim) / config.Positive({"dim_model_base"}));
}

// Its scales stand nowhere in GGUF.
void MiniCpm3(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  HfModel& model = out.model;
  Refuse(config, "attention_bias");
  for (const auto& [key, value] :
       {std::pair("scale_emb", 12.0), std::pair("scale_depth", 1.4), std::pair("dim_model_base", 256.0)}) {
    if (const double stated = config.PositiveOr({key}, value); stated != value) {
      config.Complain(base::StrCat(key, " is ", stated, ", and GGUF has ", value, " for this architecture"));
    }
  }
  model.q_latent = config.Int({"q_lora_rank"}, 1, kMaxDim);
  model.kv_latent = config.Int({"kv_lora_rank"}, 1, kMaxDim);
  model.nope_dim = config.Int({"qk_nope_head_dim"}, 1, kMaxDim);
  model.rotary_dim = static_cast<int>(config.Int({"qk_rope_head_dim"}, 2, kMaxDim));
  model.value_dim = config.IntOr({"v_head_dim"}, model.model_dim / model.q_heads[0], 1, kMaxDim);
  model.head_dim = model.nope_dim + model.rotary_dim;
  keys.U32("attention.q_lora_rank", model.q_latent);
  keys.U32("attention.kv_lora_rank", model.kv_latent);
  keys.U32("attention.key_length", model.head_dim);
  keys.U32("attention.value_length", model.value_dim);
}

// Every fourth layer has no positions.
void SmolLm3(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  Qwen2(config, out, keys);
  const std::vector<double> with_rope = config.Numbers({"no_rope_layers"});
  const int64_t interval = config.IntOr({"no_rope_layer_interval"}, 4, 1, kMaxDim);
  bool usual = with_rope.empty() ? interval == 4 : static_cast<int64_t>(with_rope.size()) == out.model.layers;
  for (size_t l = 0; l < with_rope.size(); ++l) usual &= (with_rope[l] != 0) == ((l + 1) % 4 != 0);
  if (!usual && out.model.sized) {
    config.Complain("no_rope_layers is not every fourth layer, as GGUF has it for this architecture");
  }
}

// The first Qwen states the width of gate and up together.
void Qwen(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  keys.U32s("feed_forward_length", out.model.ffn);
  for (int64_t& width : out.model.ffn) {
    if (width % 2 != 0 && out.model.sized) {
      config.Complain(base::StrCat("intermediate_size is ", width, ", must be even"));
    }
    width = std::max<int64_t>(1, width / 2);
  }
  // Beyond the length of training RoPE and attention are scaled by the length; the keys are ours.
  const int64_t trained = config.IntOr({"seq_length"}, out.model.context, 2, kMaxWindow);
  if (config.BoolOr({"use_logn_attn"}, false)) keys.U32("attention.logn_length", trained);
  if (config.BoolOr({"use_dynamic_ntk"}, false)) {
    keys.String("rope.scaling.type", "dynamic_doubling");
    keys.U32("rope.scaling.original_context_length", trained);
  } else {
    out.model.context = std::min(out.model.context, trained);
  }
}

// Mehta et al., arXiv 2404.14619: widths of layers are multiples of a divisor, none more than a tenth too small.
void OpenElm(HfConfig& config, HfDescription& out, ArchitectureKeys&) {
  const std::vector<double> multipliers = config.Numbers({"ffn_multipliers"});
  const int64_t divisor = config.IntOr({"ffn_dim_divisor"}, 256, 1, kMaxDim);
  if (!out.model.sized) return;
  if (multipliers.size() != out.model.ffn.size()) {
    config.Complain(
        base::StrCat("ffn_multipliers has ", multipliers.size(), " elements for ", out.model.layers, " layers"));
    return;
  }
  for (size_t l = 0; l < multipliers.size(); ++l) {
    const double width = multipliers[l] * static_cast<double>(out.model.model_dim);
    if (!(width >= 1) || width > kMaxDim) {
      config.Complain(base::StrCat("ffn_multipliers[", l, "] is ", multipliers[l], ", which gives no width"));
      return;
    }
    int64_t rounded =
        std::max(divisor, static_cast<int64_t>(width + static_cast<double>(divisor) / 2) / divisor * divisor);
    if (static_cast<double>(rounded) < 0.9 * width) rounded += divisor;
    out.model.ffn[l] = rounded;
  }
}

// Keys and names of what follows are ours; docs/models.md lists them.

void Opt(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  const bool biases = config.BoolOr({"enable_bias"}, true);
  out.model.qkv_bias = out.model.out_bias = out.model.ffn_bias = {"enable_bias", biases};
  if (!config.BoolOr({"layer_norm_elementwise_affine"}, true)) {
    config.Complain("layer_norm_elementwise_affine is false, which is not supported");
  }
  if (const std::string activation = config.StringOr({"activation_function"}, "relu"); activation != "relu") {
    keys.String("hidden_activation", activation);
  }
  const bool norms_before = config.BoolOr({"do_layer_norm_before"}, true);
  const bool no_final_norm = config.BoolOr({"_remove_final_layer_norm"}, false);
  if (norms_before && no_final_norm) config.Complain("_remove_final_layer_norm is true, which is not supported");
  if (!norms_before) keys.Bool("norm_after_residual", true);
  out.tensors.push_back(norms_before ? rules::kOptNormsBefore : rules::kOptNormsBehind);
  const int64_t embedding = config.IntOr({"word_embed_proj_dim"}, out.model.model_dim, 1, kMaxDim);
  if (embedding == out.model.model_dim) return;
  out.model.embedding_dim = embedding;
  out.tensors.push_back(rules::kOptProjections);
  keys.U32("token_embedding_length", embedding);
}

// Every block may run twice in succession.
void MobileLlm(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  if (config.BoolOr({"layer_sharing", "share_layers"}, false)) keys.U32("block_repeat", 2);
  if (config.BoolOr({"share_embedding"}, false)) out.model.tied = out.model.tied_stated = true;
}

// Its configuration names key/value heads that its code does not have.
void MobiLlama(HfConfig& config, HfDescription& out, ArchitectureKeys&) {
  Refuse(config, "mlp_bias");
  out.model.kv_heads = out.model.q_heads;
}

void PanguPi(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  HfModel& model = out.model;
  model.shortcuts = config.IntOr({"num_augmented_shortcuts"}, 0, 0, 64);
  const int64_t reduction = config.IntOr({"shortcut_reduction"}, 32, 1, kMaxDim);
  model.series = config.IntOr({"series_activation_n"}, 1, 1, 64);
  if (model.shortcuts > 0) {
    if (model.model_dim % reduction != 0 && model.sized) {
      config.Complain(
          base::StrCat("shortcut_reduction is ", reduction, ", which does not divide the width of ", model.model_dim));
    }
    model.shortcut_width = std::max<int64_t>(1, model.model_dim / reduction);
    keys.U32("shortcut_length", model.shortcuts * model.shortcut_width);
    out.tensors.push_back(rules::kShortcuts);
  }
  keys.U32("series_activation_count", model.series);
  out.tensors.push_back(rules::kSeriesFfn);
}

// Complains where the file states something else than one of these.
void RequireOneOf(HfConfig& config, std::string_view key, std::initializer_list<const char*> known) {
  const std::string stated = config.StringOr({key}, *known.begin());
  if (std::find(known.begin(), known.end(), stated) != known.end()) return;
  config.Complain(
      base::StrCat(key, " is ", Quoted(stated), ", which is not supported (", absl::StrJoin(known, ", "), ")"));
}

// open_lm rounds the width of its FFN up from two thirds of four times the model's.
void OpenLm(HfConfig& config, HfDescription& out, ArchitectureKeys&) {
  for (const std::string_view key : {"norm_type", "model_norm"}) {
    RequireOneOf(config, key, {"gain_only_lp_layer_norm", "gain_only_layer_norm"});
  }
  RequireOneOf(config, "positional_embedding_type", {"rotary"});
  RequireOneOf(config, "ffn_type", {"swiglu", "swiglu_torch"});
  RequireOneOf(config, "attn_name", {"auto", "xformers_attn", "torch_attn"});  // another may do without softmax
  for (const std::string_view key : {"qk_norm", "apply_qk_norm"}) {
    if (!config.BoolOr({key}, true)) config.Complain(base::StrCat(key, " is false, which is not supported"));
  }
  Refuse(config, "post_embed_norm");
  const int64_t width = (8 * out.model.model_dim / 3 + 255) / 256 * 256;
  out.model.ffn.assign(out.model.ffn.size(), width);
}

void RecurrentGemma(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  HfModel& model = out.model;
  Refuse(config, "attention_bias");  // those of queries, keys and values; attention's output always has one
  std::vector<std::string> types = config.Strings({"block_types", "_block_types"});
  if (types.empty()) types = {"recurrent", "recurrent", "attention"};
  std::vector<int64_t> kv_heads;
  for (int64_t l = 0; l < model.layers; ++l) {
    const std::string& type = types[static_cast<size_t>(l) % types.size()];
    model.recurrent.push_back(type == "recurrent");
    kv_heads.push_back(type == "recurrent" ? 0 : model.kv_heads[static_cast<size_t>(l)]);
    if (type != "recurrent" && type != "attention") config.Complain(base::StrCat("block_types has ", Quoted(type)));
  }
  model.recurrent_width = config.IntOr({"lru_width"}, model.model_dim, 1, kMaxDim);
  model.recurrent_heads = model.q_heads[0];
  model.taps = config.IntOr({"conv1d_width"}, 4, 1, 64);
  if (model.recurrent_width % model.recurrent_heads != 0 && model.sized) {
    config.Complain(base::StrCat("lru_width is ", model.recurrent_width, ", which ", model.recurrent_heads,
                                 " heads do not divide"));
  }
  for (int64_t& width : model.ffn) width = std::max<int64_t>(1, width / 2);  // gate and up are stated together
  keys.I32s("attention.head_count_kv", kv_heads);
  keys.U32("attention.sliding_window", config.IntOr({"attention_window_size"}, 2048, 1, kMaxWindow));
  keys.F32("final_logit_softcapping", config.PositiveOr({"logits_soft_cap"}, 30));
  keys.U32("rglru.width", model.recurrent_width);
  keys.U32("rglru.head_count", model.recurrent_heads);
  keys.U32("rglru.conv_kernel", model.taps);
}

constexpr char kSilu[] = "silu swish";
constexpr char kGeluTanh[] = "gelu_new gelu_pytorch_tanh gelu_fast";

const std::vector<HfFamily>& Rows() {
  using enum HfRopeUse;
  static const auto* const rows = new std::vector<HfFamily>{
      {.gguf = "bloom",
       .architectures = "BloomForCausalLM BloomModel",
       .model_types = "bloom",
       .prefix = "transformer.",
       .tensors = {rules::kBloom},
       .rope = kNone,
       .layer_norm = true,
       .tied = true,
       .four_times_wide = true,
       .context = 2048,
       .particulars = Bloom},
      {.gguf = "gemma",
       .architectures = "GemmaForCausalLM",
       .model_types = "gemma",
       .prefix = "model.",
       .activations = "gelu gelu_pytorch_tanh",
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .norms_from_zero = true,
       .tied = true},
      {.gguf = "gemma2",
       .architectures = "Gemma2ForCausalLM",
       .model_types = "gemma2",
       .prefix = "model.",
       .activations = "gelu_pytorch_tanh",
       .tensors = {rules::kEmbeddings, rules::kNormsAround, rules::kAttention, rules::kGatedFfn},
       .norms_from_zero = true,
       .tied = true,
       .particulars = Gemma2},
      {.gguf = "gemma3",
       .architectures = "Gemma3ForCausalLM Gemma3ForConditionalGeneration",
       .model_types = "gemma3_text gemma3",
       .prefix = "model.",
       .activations = "gelu_pytorch_tanh",
       .tensors = {rules::kEmbeddings, rules::kNormsAround, rules::kAttention, rules::kHeadNorms, rules::kGatedFfn},
       .theta = 1e6,
       .norms_from_zero = true,
       .tied = true,
       .defaults = R"({"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6,
                       "query_pre_attn_scalar": 256, "vocab_size": 262208, "max_position_embeddings": 131072})",
       .particulars = Gemma3},
      {.gguf = "gpt2",
       .architectures = "GPT2LMHeadModel GPT2Model",
       .model_types = "gpt2",
       .prefix = "transformer.",
       .activations = "gelu_new gelu_pytorch_tanh gelu_fast gelu",
       .tensors = {rules::kGpt2},
       .rope = kNone,
       .layer_norm = true,
       .tied = true,
       .four_times_wide = true,
       .particulars = Gpt2},
      {.gguf = "gptneox",
       .architectures = "GPTNeoXForCausalLM",
       .model_types = "gpt_neox",
       .prefix = "gpt_neox.",
       .activations = "gelu",
       .tensors = {rules::kGptNeoX},
       .partial_rotary = 0.25,
       .layer_norm = true,
       .particulars = GptNeoX},
      {.gguf = "granite",
       .architectures = "GraniteForCausalLM",
       .model_types = "granite",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .rope = kNeighbours,
       .particulars = Granite},
      {.gguf = "llama",
       .architectures = "LlamaForCausalLM LLaMAForCausalLM LlamaModel",
       .model_types = "llama",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .rope = kNeighbours},
      {.gguf = "llama",
       .architectures = "MistralForCausalLM",
       .model_types = "mistral",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .rope = kNeighbours,
       .particulars = Mistral},
      {.gguf = "minicpm",
       .architectures = "MiniCPMForCausalLM",
       .model_types = "minicpm",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .rope = kNeighbours,
       .tied = true,
       .particulars = MiniCpm},
      {.gguf = "minicpm3",
       .architectures = "MiniCPM3ForCausalLM",
       .model_types = "minicpm3",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kLatentAttention, rules::kGatedFfn},
       .tied = true,
       .particulars = MiniCpm3},
      {.gguf = "mobilellm",
       .architectures = "MobileLLMForCausalLM",
       .model_types = "mobilellm",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .particulars = MobileLlm},
      {.gguf = "mobillama",
       .architectures = "MobiLlamaForCausalLM MobillamaForCausalLM",
       .model_types = "mobillama",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kSharedFfn},
       .particulars = MobiLlama},
      {.gguf = "nemotron",
       .architectures = "NemotronForCausalLM",
       .model_types = "nemotron",
       .prefix = "model.",
       .activations = "relu2",
       .tensors = {rules::kEmbeddings, rules::kLayerNorms, rules::kAttention, rules::kPlainFfn},
       .partial_rotary = 0.5,
       .layer_norm = true,
       .norms_from_zero = true},
      {.gguf = "olmo",
       .architectures = "OlmoForCausalLM",
       .model_types = "olmo",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddingsWithoutNorm, rules::kAttention, rules::kGatedFfn},
       .rope = kNeighbours,
       .eps = 1e-5,
       .layer_norm = true,
       .particulars = Olmo},
      {.gguf = "olmo2",
       .architectures = "Olmo2ForCausalLM",
       .model_types = "olmo2",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNormsAfter, rules::kAttention, rules::kAllHeadNorms, rules::kGatedFfn}},
      {.gguf = "openelm",
       .architectures = "OpenELMForCausalLM",
       .model_types = "openelm",
       .prefix = "transformer.",
       .activations = kSilu,
       .tensors = {rules::kOpenElm},
       .eps = 1e-6,
       .tied = true,
       .four_times_wide = true,
       .particulars = OpenElm},
      {.gguf = "openlm",
       .architectures = "OpenLMForCausalLM OpenLMModel",
       .model_types = "openlm",
       .prefix = "model.",
       .tensors = {rules::kOpenLm},
       .eps = 1e-5,
       .layer_norm = true,
       .four_times_wide = true,
       .particulars = OpenLm},
      {.gguf = "opt",
       .architectures = "OPTForCausalLM OPTModel",
       .model_types = "opt",
       .prefix = "model.decoder.",
       .activations = "relu gelu",
       .tensors = {rules::kOpt},
       .rope = kNone,
       .eps = 1e-5,
       .layer_norm = true,
       .tied = true,
       .particulars = Opt},
      {.gguf = "pangu_pi",
       .architectures = "PanguPiForCausalLM",
       .model_types = "pangu_pi",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .particulars = PanguPi},
      {.gguf = "phi2",
       .architectures = "PhiForCausalLM",
       .model_types = "phi",
       .prefix = "model.",
       .activations = kGeluTanh,
       .tensors = {rules::kPhi},
       .partial_rotary = 0.5,
       .layer_norm = true,
       .particulars = Phi},
      {.gguf = "phi3",
       .architectures = "Phi3ForCausalLM",
       .model_types = "phi3",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kPhi3},
       .particulars = Phi3},
      {.gguf = "qwen",
       .architectures = "QWenLMHeadModel",
       .model_types = "qwen",
       .prefix = "transformer.",
       .tensors = {rules::kQwen},
       .particulars = Qwen},
      {.gguf = "qwen2",
       .architectures = "Qwen2ForCausalLM",
       .model_types = "qwen2",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttentionMatrices, rules::kQkvBiases, rules::kGatedFfn},
       .particulars = Qwen2},
      {.gguf = "qwen3",
       .architectures = "Qwen3ForCausalLM",
       .model_types = "qwen3",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kHeadNorms, rules::kGatedFfn},
       .particulars = Qwen2},
      {.gguf = "recurrentgemma",
       .architectures = "RecurrentGemmaForCausalLM",
       .model_types = "recurrent_gemma",
       .prefix = "model.",
       .activations = "gelu_pytorch_tanh",
       .tensors = {rules::kRecurrentGemma},
       .partial_rotary = 0.5,
       .norms_from_zero = true,
       .tied = true,
       .context = 8192,
       .particulars = RecurrentGemma},
      {.gguf = "smollm3",
       .architectures = "SmolLM3ForCausalLM",
       .model_types = "smollm3",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kNorms, rules::kAttention, rules::kGatedFfn},
       .rope = kNeighbours,
       .tied = true,
       .particulars = SmolLm3},
      {.gguf = "stablelm",
       .architectures = "StableLmForCausalLM StableLMEpochForCausalLM",
       .model_types = "stablelm stablelm_epoch",
       .prefix = "model.",
       .activations = kSilu,
       .tensors = {rules::kEmbeddings, rules::kAttention, rules::kGatedFfn},
       .partial_rotary = 0.25,
       .layer_norm = true,
       .particulars = StableLm},
  };
  return *rows;
}

}  // namespace

std::span<const HfFamily> HfFamilies() { return Rows(); }

}  // namespace linnet::worker
