// What all families' config.json have in common.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "base/nearest.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/checkpoint/hf_family.h"
#include "worker/checkpoint/json_text.h"
#include "worker/gguf/model_bounds.h"

namespace linnet::worker {
namespace {

bool IsWordOf(std::string_view word, std::string_view list) {
  for (const std::string_view one : base::StrSplit(list, ' ')) {
    if (one == word) return true;
  }
  return false;
}

// Forms of checkpoints that are not read, and where the same model is published in one that is.
struct Elsewhere {
  std::string_view names, remedy;
};
constexpr Elsewhere kElsewhere[] = {
    {"OLMoForCausalLM hf_olmo", "take the model from its repository whose name ends in -hf, an OlmoForCausalLM"},
};

void ReadLayers(HfConfig& config, const HfFamily& family, HfModel& model) {
  const size_t problems = config.problems().size();
  model.layers = config.Int({"num_hidden_layers", "n_layer", "n_layers", "num_transformer_layers"}, 1, kMaxLayers);
  model.model_dim = config.Int({"hidden_size", "n_embd", "n_embed", "model_dim", "dim"}, 1, kMaxDim);
  const HfConfig::Names kv_heads = {"num_key_value_heads", "num_kv_heads"};
  model.q_heads =
      config.IntPerLayer({"num_attention_heads", "n_head", "num_query_heads", "n_heads"}, model.layers, 1, kMaxHeads);
  model.kv_heads = config.Has(kv_heads) ? config.IntPerLayer(kv_heads, model.layers, 1, kMaxHeads) : model.q_heads;
  const HfConfig::Names head_dim = {"head_dim", "kv_channels"};
  model.head_dim_stated = config.Has(head_dim);
  model.head_dim = model.head_dim_stated ? config.Int(head_dim, 1, kMaxDim)
                                         : std::max<int64_t>(1, model.model_dim / model.q_heads[0]);
  const HfConfig::Names ffn = {"intermediate_size", "n_inner", "ffn_dim"};
  if (!config.Has(ffn) && family.four_times_wide) {
    model.ffn.assign(static_cast<size_t>(model.layers), 4 * model.model_dim);
  } else {
    model.ffn = config.IntPerLayer(ffn, model.layers, 1, kMaxDim);
  }
  if (config.problems().size() > problems) return;
  model.sized = true;
  for (size_t l = 0; l < model.q_heads.size(); ++l) {
    if (model.q_heads[l] % model.kv_heads[l] == 0) continue;
    config.Complain(base::StrCat(config.NameOf(kv_heads), " is ", model.kv_heads[l], ", which does not divide the ",
                                 model.q_heads[l], " query heads"));
    break;
  }
  if (!model.head_dim_stated && model.model_dim % model.q_heads[0] != 0) {
    config.Complain(base::StrCat(model.q_heads[0], " heads do not divide the width of ", model.model_dim));
    model.sized = false;  // nor is a head's
  }
}

void ReadSizes(HfConfig& config, const HfFamily& family, HfModel& model) {
  ReadLayers(config, family, model);
  model.vocab = config.Int({"vocab_size"}, 1, kMaxVocab);
  const HfConfig::Names context = {
      "max_position_embeddings", "n_positions",      "n_ctx",  "seq_length", "max_sequence_length",
      "max_context_length",      "model_max_length", "seq_len"};
  model.context =
      family.context > 0 ? config.IntOr(context, family.context, 1, kMaxContext) : config.Int(context, 1, kMaxContext);
  const HfConfig::Names tied = {"tie_word_embeddings", "share_input_output_layers", "weight_tying"};
  model.tied_stated = config.Has(tied);
  model.tied = config.BoolOr(tied, family.tied);
  const HfConfig::Names eps = {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"};
  model.norm_eps = family.eps > 0 ? config.PositiveOr(eps, family.eps) : config.Positive(eps);
}

// Of most families; those whose biases do not depend on it have no rules that it concerns.
void ReadCommonBiases(HfConfig& config, HfModel& model) {
  model.qkv_bias = model.out_bias = ReadBiases(config, "attention_bias");
  model.ffn_bias = ReadBiases(config, "mlp_bias");
}

void ReadRope(HfConfig& config, const HfFamily& family, HfModel& model) {
  if (family.rope == HfRopeUse::kNone) return;
  model.rope = config.Rope("full_attention");
  if (model.rope.type == "dynamic") {
    // The file states the length of the training, and by how much it may be exceeded.
    model.rope.original_context = model.context;
    const double extended = static_cast<double>(model.context) * std::max(1.0, model.rope.factor);
    model.context = static_cast<int64_t>(std::min(extended, static_cast<double>(kMaxContext)));
  }
  if (!model.rope.theta) {
    model.rope.theta = config.PositiveOr({"rope_theta", "rotary_emb_base", "rope_freq_constant"}, family.theta);
  }
  const double partial = model.rope.partial.value_or(
      config.PositiveOr({"partial_rotary_factor", "rotary_pct", "rope_pct", "rope_percent"}, family.partial_rotary));
  const auto head_dim = static_cast<double>(model.head_dim);
  // As Transformers rounds, but for what a product such as 0.4 · 80 may lack.
  model.rotary_dim = static_cast<int>(std::floor(std::min(partial, 1.0) * head_dim + 1e-6));
  if (!model.sized) return;
  if (model.rotary_dim < 2 || model.rotary_dim % 2 != 0 || partial > 1) {
    config.Complain(base::StrCat("partial_rotary_factor is ", partial, " of ", model.head_dim,
                                 " dimensions, which are no even number from 2 to all of them"));
  } else if (family.rope == HfRopeUse::kNeighbours && model.rotary_dim != model.head_dim) {
    config.Complain(
        base::StrCat("partial_rotary_factor is ", partial, ", and \"", family.gguf, "\" in GGUF turns whole heads"));
  }
}

// What no family's GGUF architecture can say.
void CheckSupported(HfConfig& config, const HfFamily& family) {
  if (config.Has({"quantization_config"})) {
    config.Complain(
        "the weights are quantized (quantization_config), which is not supported: give the model's f32, f16 or bf16 "
        "weights, and quantize them with `linnet variant quantize`");
  }
  const HfConfig::Names experts = {"num_local_experts", "num_experts", "n_routed_experts"};
  if (const int64_t count = config.IntOr(experts, 0, 0, kMaxDim); count > 1) {
    config.Complain(base::StrCat("a mixture of ", count, " experts is not supported"));
  }
  const std::string activation =
      config.StringOr({"hidden_activation", "hidden_act", "activation_function", "activation_fn_name"}, "");
  if (!activation.empty() && !family.activations.empty() && !IsWordOf(activation, family.activations)) {
    config.Complain(base::StrCat("the activation ", Quoted(activation), " is not what \"", family.gguf,
                                 "\" computes in GGUF (", family.activations, ")"));
  }
}

// The divisors of Llama 3's RoPE: long waves are stretched by `factor`, short ones left, and between two bounds it goes
// over smoothly.
std::vector<float> Llama3Factors(const HfRope& rope, int rotary_dim) {
  std::vector<float> factors;
  const auto original = static_cast<double>(rope.original_context);
  for (int i = 0; i < rotary_dim; i += 2) {
    const double wavelength = 2 * std::numbers::pi * std::pow(*rope.theta, static_cast<double>(i) / rotary_dim);
    double factor = rope.factor;
    if (wavelength < original / rope.high_freq_factor) {
      factor = 1;
    } else if (wavelength <= original / rope.low_freq_factor) {
      const double smooth =
          (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      factor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

std::vector<float> Floats(const std::vector<double>& numbers) {
  std::vector<float> floats;
  for (const double number : numbers) floats.push_back(static_cast<float>(number));
  return floats;
}

void WriteLongRope(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  const HfRope& rope = out.model.rope;
  const auto wanted = static_cast<size_t>(out.model.rotary_dim / 2);
  for (const auto& [name, factors] :
       {std::pair("long_factor", &rope.long_factors), std::pair("short_factor", &rope.short_factors)}) {
    if (factors->size() == wanted || !out.model.sized) continue;
    config.Complain(base::StrCat("rope_parameters.", name, " has ", factors->size(), " elements, must have ", wanted));
  }
  const double scale = static_cast<double>(out.model.context) / static_cast<double>(rope.original_context);
  const double magnitude =
      scale <= 1 ? 1 : std::sqrt(1 + std::log(scale) / std::log(static_cast<double>(rope.original_context)));
  keys.String("rope.scaling.type", "longrope");
  keys.F32("rope.scaling.attn_factor", rope.attention_factor.value_or(magnitude));
  keys.U32("rope.scaling.original_context_length", rope.original_context);
  out.generated.push_back({"rope_factors_long.weight", Floats(rope.long_factors)});
  out.generated.push_back({"rope_factors_short.weight", Floats(rope.short_factors)});
}

void WriteRope(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) {
  const HfRope& rope = out.model.rope;
  if (out.family->rope == HfRopeUse::kNone) return;
  keys.U32("rope.dimension_count", out.model.rotary_dim);
  keys.F32("rope.freq_base", *rope.theta);
  if ((rope.type == "llama3" || rope.type == "longrope" || rope.type == "yarn") && rope.original_context == 0) {
    config.Complain(base::StrCat("RoPE of type ", rope.type, " needs original_max_position_embeddings"));
    return;
  }
  if (rope.type == "default" || rope.type == "none") return;
  if (rope.type == "linear") {
    keys.String("rope.scaling.type", "linear");
    keys.F32("rope.scaling.factor", rope.factor);
  } else if (rope.type == "llama3") {
    if (!(rope.high_freq_factor > rope.low_freq_factor)) {
      config.Complain("rope_parameters.high_freq_factor must be above low_freq_factor");
      return;
    }
    out.generated.push_back({"rope_freqs.weight", Llama3Factors(rope, out.model.rotary_dim)});
  } else if (rope.type == "longrope") {
    WriteLongRope(config, out, keys);
  } else if (rope.type == "dynamic") {
    keys.String("rope.scaling.type", "dynamic");  // a value of ours: factors by the sequence's length
    keys.F32("rope.scaling.factor", rope.factor);
    keys.U32("rope.scaling.original_context_length", rope.original_context);
  } else if (rope.type == "yarn") {
    keys.String("rope.scaling.type", "yarn");
    keys.F32("rope.scaling.factor", rope.factor);
    keys.U32("rope.scaling.original_context_length", rope.original_context);
    if (rope.attention_factor) keys.F32("rope.scaling.yarn_attn_factor", *rope.attention_factor);
    if (rope.beta_fast) keys.F32("rope.scaling.yarn_beta_fast", *rope.beta_fast);
    if (rope.beta_slow) keys.F32("rope.scaling.yarn_beta_slow", *rope.beta_slow);
  } else {
    config.Complain(base::StrCat("RoPE of type ", Quoted(rope.type),
                                 " is not supported (default, linear, dynamic, llama3, longrope and yarn are)"));
  }
}

void WriteKeys(const HfDescription& out, ArchitectureKeys& keys) {
  const HfModel& model = out.model;
  keys.U32("block_count", model.layers);
  keys.U32("context_length", model.context);
  keys.U32("embedding_length", model.model_dim);
  keys.U32s("feed_forward_length", model.ffn);
  keys.U32s("attention.head_count", model.q_heads);
  keys.U32s("attention.head_count_kv", model.kv_heads);
  if (model.head_dim_stated || model.head_dim * model.q_heads[0] != model.model_dim) {
    keys.U32("attention.key_length", model.head_dim);
    keys.U32("attention.value_length", model.head_dim);
  }
  keys.F32(out.family->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
           model.norm_eps);
  keys.U32("vocab_size", model.vocab);
}

}  // namespace

HfBiases ReadBiases(HfConfig& config, std::string_view key) {
  if (!config.Has({key})) return {};
  return {key, config.BoolOr({key}, false)};
}

std::string ArchitectureKeys::Name(std::string_view key) const { return base::StrCat(architecture_, ".", key); }

void ArchitectureKeys::U32(std::string_view key, int64_t value) {
  if (!metadata_.Has(Name(key))) metadata_.SetU32(Name(key), static_cast<uint32_t>(value));
}
void ArchitectureKeys::U32s(std::string_view key, const std::vector<int64_t>& values) {
  if (std::count(values.begin(), values.end(), values[0]) == static_cast<int64_t>(values.size())) {
    U32(key, values[0]);
  } else {
    I32s(key, values);
  }
}
void ArchitectureKeys::I32s(std::string_view key, const std::vector<int64_t>& values) {
  if (!metadata_.Has(Name(key))) metadata_.SetI32s(Name(key), {values.begin(), values.end()});
}
void ArchitectureKeys::F32(std::string_view key, double value) {
  if (!metadata_.Has(Name(key))) metadata_.SetF32(Name(key), static_cast<float>(value));
}
void ArchitectureKeys::Bool(std::string_view key, bool value) {
  if (!metadata_.Has(Name(key))) metadata_.SetBool(Name(key), value);
}
void ArchitectureKeys::String(std::string_view key, std::string_view value) {
  if (!metadata_.Has(Name(key))) metadata_.SetString(Name(key), value);
}

absl::StatusOr<const HfFamily*> FindHfFamily(const HfConfig& config) {
  const bool named = !config.architecture().empty();
  const std::string& wanted = named ? config.architecture() : config.model_type();
  std::vector<std::string> known;
  for (const HfFamily& family : HfFamilies()) {
    const std::string_view names = named ? family.architectures : family.model_types;
    if (IsWordOf(wanted, names)) return &family;
    for (const std::string_view name : base::StrSplit(names, ' ')) known.emplace_back(name);
  }
  if (wanted.empty()) {
    return CheckpointError(config.path(), {"names neither architectures nor model_type; is it a language model's?"});
  }
  for (const Elsewhere& other : kElsewhere) {
    if (!IsWordOf(wanted, other.names)) continue;
    return CheckpointError(config.path(),
                           {base::StrCat("the form of ", Quoted(wanted), " is not supported; ", other.remedy)});
  }
  const std::string nearest = base::Nearest(wanted, known);
  return CheckpointError(config.path(),
                         {base::StrCat(named ? "the architecture " : "the model type ", Quoted(wanted),
                                       " is not supported; ", nearest.empty() ? "" : "the nearest that is: ", nearest,
                                       nearest.empty() ? "docs/models.md lists those that are" : "")});
}

absl::StatusOr<HfDescription> DescribeConfig(HfConfig& config) {
  HfDescription out;
  LINNET_ASSIGN_OR_RETURN(out.family, FindHfFamily(config));
  const HfFamily& family = *out.family;
  out.tensors = family.tensors;
  if (!family.defaults.empty()) config.SetDefaults(family.defaults);
  out.metadata.SetString("general.architecture", family.gguf);
  ArchitectureKeys keys(family.gguf, out.metadata);
  ReadSizes(config, family, out.model);
  ReadCommonBiases(config, out.model);
  ReadRope(config, family, out.model);
  CheckSupported(config, family);
  if (family.particulars != nullptr) family.particulars(config, out, keys);
  WriteKeys(out, keys);
  WriteRope(config, out, keys);
  if (!config.problems().empty()) return CheckpointError(config.path(), config.problems());
  return out;
}

}  // namespace linnet::worker
