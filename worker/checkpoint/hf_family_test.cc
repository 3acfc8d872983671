// What config.json becomes in GGUF's keys; the tensors are in convert_test.cc.
#include "worker/checkpoint/hf_family.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strings.h"
#include "base/testing.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

json Llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"intermediate_size", 96},
          {"vocab_size", 32},
          {"rms_norm_eps", 1e-6},
          {"max_position_embeddings", 512},
          {"hidden_act", "silu"}};
}

class DescribeConfigTest : public ::testing::Test {
 protected:
  absl::StatusOr<HfDescription> Describe(const json& config) {
    auto parsed = HfConfig::Parse(config.dump(), "config.json");
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return DescribeConfig(*parsed);
  }
  // The keys, as a reader of the file sees them.
  const GgufFile& Keys(const json& config) {
    const auto described = Describe(config);
    EXPECT_TRUE(described.ok()) << described.status();
    const std::string path = tree_.Path("x.gguf");
    EXPECT_TRUE((*GgufWriter::Create(path, described->metadata, {}))->Finish().ok());
    file_ = *GgufFile::Open(path);
    return *file_;
  }
  std::string Complaint(const json& config) {
    const absl::Status status = Describe(config).status();
    EXPECT_EQ(base::ErrorReason(status), "INVALID_MODEL_FILE") << config;
    return std::string(status.message());
  }

  base::FileTree tree_;
  std::unique_ptr<GgufFile> file_;
};

json With(json config, const json& more) {
  config.update(more);
  return config;
}

TEST_F(DescribeConfigTest, CommonKeys) {
  const GgufFile& keys = Keys(With(Llama(), {{"rope_theta", 5e5}}));
  EXPECT_EQ(*keys.GetString("general.architecture"), "llama");
  EXPECT_EQ(*keys.GetInt("llama.block_count"), 2);
  EXPECT_EQ(*keys.GetInt("llama.context_length"), 512);
  EXPECT_EQ(*keys.GetInt("llama.embedding_length"), 64);
  EXPECT_EQ(*keys.GetInt("llama.feed_forward_length"), 96);
  EXPECT_EQ(*keys.GetInt("llama.attention.head_count"), 4);
  EXPECT_EQ(*keys.GetInt("llama.attention.head_count_kv"), 2);
  EXPECT_FLOAT_EQ(*keys.GetDouble("llama.attention.layer_norm_rms_epsilon"), 1e-6);
  EXPECT_EQ(*keys.GetInt("llama.rope.dimension_count"), 16);
  EXPECT_EQ(*keys.GetDouble("llama.rope.freq_base"), 5e5);
  EXPECT_EQ(*keys.GetInt("llama.vocab_size"), 32);
  EXPECT_FALSE(keys.metadata().contains("llama.attention.key_length"));
}

TEST_F(DescribeConfigTest, HeadsOfAnotherWidth) {
  const GgufFile& keys = Keys(With(Llama(), {{"head_dim", 24}}));
  EXPECT_EQ(*keys.GetInt("llama.attention.key_length"), 24);
  EXPECT_EQ(*keys.GetInt("llama.attention.value_length"), 24);
  EXPECT_EQ(*keys.GetInt("llama.rope.dimension_count"), 24);
}

TEST_F(DescribeConfigTest, LinearAndYarnScaling) {
  const json linear = {{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}};
  EXPECT_EQ(*Keys(With(Llama(), linear)).GetString("llama.rope.scaling.type"), "linear");
  EXPECT_EQ(*file_->GetDouble("llama.rope.scaling.factor"), 4);
  const json yarn = {
      {"rope_parameters",
       {{"rope_type", "yarn"}, {"factor", 2}, {"original_max_position_embeddings", 256}, {"beta_fast", 16}}}};
  EXPECT_EQ(*Keys(With(Llama(), yarn)).GetString("llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(*file_->GetInt("llama.rope.scaling.original_context_length"), 256);
  EXPECT_EQ(*file_->GetDouble("llama.rope.scaling.yarn_beta_fast"), 16);
}

TEST_F(DescribeConfigTest, ScalingByTheSequencesLength) {
  const GgufFile& keys = Keys(With(Llama(), {{"rope_scaling", {{"type", "dynamic"}, {"factor", 4}}}}));
  EXPECT_EQ(*keys.GetString("llama.rope.scaling.type"), "dynamic");
  EXPECT_EQ(*keys.GetDouble("llama.rope.scaling.factor"), 4);
  EXPECT_EQ(*keys.GetInt("llama.rope.scaling.original_context_length"), 512);
  EXPECT_EQ(*keys.GetInt("llama.context_length"), 2048);
}

TEST_F(DescribeConfigTest, Llama3ScalingBecomesDivisors) {
  const json scaling = {{"rope_scaling",
                         {{"rope_type", "llama3"},
                          {"factor", 8},
                          {"low_freq_factor", 1},
                          {"high_freq_factor", 4},
                          {"original_max_position_embeddings", 128}}}};
  const auto described = *Describe(With(Llama(), scaling));
  ASSERT_EQ(described.generated.size(), 1u);
  EXPECT_EQ(described.generated[0].name, "rope_freqs.weight");
  const std::vector<float>& factors = described.generated[0].values;
  ASSERT_EQ(factors.size(), 8u);
  // Wavelengths of 2π·10000^(i/8): up to 32 they stay, from 128 on they are stretched.
  EXPECT_EQ(factors[1], 1);  // 19.9
  EXPECT_NEAR(factors[2], 1 / ((1 - (128 / 62.8319 - 1) / 3) / 8 + (128 / 62.8319 - 1) / 3), 1e-5);
  EXPECT_EQ(factors[3], 8);  // 198.7
  EXPECT_EQ(factors[7], 8);
}

TEST_F(DescribeConfigTest, AScalingWithoutItsFactorIsRefused) {
  for (const char* type : {"linear", "dynamic", "llama3", "yarn"}) {
    const json scaling = {{"rope_type", type}, {"original_max_position_embeddings", 128}};
    EXPECT_THAT(Complaint(With(Llama(), {{"rope_scaling", scaling}})),
                HasSubstr(base::StrCat("rope_parameters.factor is missing, which RoPE of type ", type, " needs")));
  }
}

TEST_F(DescribeConfigTest, YarnsMultipliersAreItsMagnitude) {
  const json yarn = {{"rope_type", "yarn"},
                     {"factor", 2},
                     {"original_max_position_embeddings", 256},
                     {"mscale", 0.5},
                     {"mscale_all_dim", 1}};
  const double root = 0.1 * std::log(2.0);
  EXPECT_FLOAT_EQ(*Keys(With(Llama(), {{"rope_scaling", yarn}})).GetDouble("llama.rope.scaling.yarn_attn_factor"),
                  (0.5 * root + 1) / (root + 1));
}

// Reordering rows for neighbours would mix the part that rotates with the part that does not.
TEST_F(DescribeConfigTest, HeadsThatRotateInPartAreRefusedWhereRowsAreReordered) {
  EXPECT_THAT(Complaint(With(Llama(), {{"partial_rotary_factor", 0.5}})),
              HasSubstr("partial_rotary_factor is 0.5, and \"llama\" in GGUF turns whole heads"));
  EXPECT_THAT(Complaint(With(Llama(), {{"rope_parameters", {{"rope_theta", 1e4}, {"partial_rotary_factor", 0.25}}}})),
              HasSubstr("partial_rotary_factor is 0.25"));
  const json qwen = With(Llama(), {{"architectures", {"Qwen2ForCausalLM"}}, {"partial_rotary_factor", 0.5}});
  EXPECT_EQ(*Keys(qwen).GetInt("qwen2.rope.dimension_count"), 8);
}

TEST_F(DescribeConfigTest, LongRopeBringsItsFactors) {
  json phi3 = With(
      Llama(),
      {{"architectures", {"Phi3ForCausalLM"}},
       {"max_position_embeddings", 1024},
       {"original_max_position_embeddings", 256},
       {"rope_scaling",
        {{"type", "su"}, {"short_factor", std::vector<double>(8, 1)}, {"long_factor", std::vector<double>(8, 2)}}}});
  const auto described = *Describe(phi3);
  ASSERT_EQ(described.generated.size(), 2u);
  EXPECT_EQ(described.generated[0].name, "rope_factors_long.weight");
  EXPECT_THAT(described.generated[1].values, ::testing::Each(1));
  EXPECT_FLOAT_EQ(*Keys(phi3).GetDouble("phi3.rope.scaling.attn_factor"),
                  std::sqrt(1 + std::log(4.0) / std::log(256.0)));
  phi3["rope_scaling"]["long_factor"].erase(0);
  EXPECT_THAT(Complaint(phi3), HasSubstr("rope_parameters.long_factor has 7 elements, must have 8"));
}

TEST_F(DescribeConfigTest, WindowsThatGgufCannotSayLimitTheContext) {
  const json qwen = With(Llama(), {{"architectures", {"Qwen2ForCausalLM"}}, {"sliding_window", 100}});
  EXPECT_EQ(Describe(qwen)->model.context, 512);  // not switched on
  EXPECT_EQ(Describe(With(qwen, {{"use_sliding_window", true}, {"max_window_layers", 2}}))->model.context, 512);
  const auto limited = *Describe(With(qwen, {{"use_sliding_window", true}, {"max_window_layers", 1}}));
  EXPECT_EQ(limited.model.context, 100);
  EXPECT_THAT(limited.notes, ElementsAre(HasSubstr("the last 100 tokens")));
  const json named = {{"use_sliding_window", true}, {"max_window_layers", 2}};
  const json last = {{"layer_types", {"full_attention", "sliding_attention"}}};
  EXPECT_EQ(Describe(With(With(qwen, named), last))->model.context, 100);
  const json none = {{"max_window_layers", 1}, {"layer_types", {"full_attention", "full_attention"}}};
  EXPECT_EQ(Describe(With(With(qwen, named), none))->model.context, 512);
}

TEST_F(DescribeConfigTest, MistralsWindowIsAKeyOfOurs) {
  const json mistral = With(Llama(), {{"architectures", {"MistralForCausalLM"}}, {"sliding_window", 100}});
  const GgufFile& keys = Keys(mistral);
  EXPECT_EQ(*keys.GetInt("llama.attention.sliding_window"), 100);
  EXPECT_EQ(*keys.GetInt("llama.context_length"), 512);
  // One that nothing falls out of is none, and Llama has none whatever its file says.
  for (const json& none : {With(mistral, {{"sliding_window", 512}}), With(mistral, {{"sliding_window", nullptr}}),
                           With(mistral, {{"architectures", {"LlamaForCausalLM"}}})}) {
    EXPECT_FALSE(Keys(none).metadata().contains("llama.attention.sliding_window")) << none;
  }
}

TEST_F(DescribeConfigTest, Gemma3) {
  const json gemma = With(Llama(), {{"architectures", {"Gemma3ForCausalLM"}},
                                    {"hidden_act", nullptr},
                                    {"hidden_activation", "gelu_pytorch_tanh"},
                                    {"sliding_window", 64},
                                    {"head_dim", 16},
                                    {"query_pre_attn_scalar", 16},
                                    {"rope_local_base_freq", 20000.0}});
  const GgufFile& keys = Keys(gemma);
  EXPECT_EQ(*keys.GetDouble("gemma3.rope.freq_base"), 1e6);
  EXPECT_EQ(*keys.GetDouble("gemma3.rope.freq_base_swa"), 2e4);
  EXPECT_EQ(*keys.GetInt("gemma3.attention.sliding_window"), 64);
  const json wrong = {{"layer_types", {"full_attention", "sliding_attention"}},
                      {"query_pre_attn_scalar", 10},
                      {"sliding_window_pattern", 2},
                      {"final_logit_softcapping", 30}};
  EXPECT_THAT(Complaint(With(gemma, wrong)),
              AllOf(HasSubstr("layer_types is not the pattern"), HasSubstr("query_pre_attn_scalar is 10"),
                    HasSubstr("sliding_window_pattern is 2"), HasSubstr("final_logit_softcapping is not supported")));
}

// Of the width over the heads, 144 and 168, where heads are 128 wide.
TEST_F(DescribeConfigTest, GemmasOf27BScaleScoresOtherwise) {
  const json heads = {{"hidden_activation", "gelu_pytorch_tanh"},
                      {"num_attention_heads", 32},
                      {"num_key_value_heads", 16},
                      {"head_dim", 128},
                      {"sliding_window", 1024},
                      {"query_pre_attn_scalar", 144}};
  json gemma2 = With(With(Llama(), heads), {{"architectures", {"Gemma2ForCausalLM"}}, {"hidden_act", nullptr}});
  gemma2.update({{"hidden_size", 4608}, {"num_hidden_layers", 46}});
  EXPECT_TRUE(Describe(gemma2).ok());
  EXPECT_THAT(Complaint(With(gemma2, {{"query_pre_attn_scalar", 128}})),
              HasSubstr("query_pre_attn_scalar is 128, and GGUF has 144 for this architecture with 46 layers"));
  EXPECT_THAT(Complaint(With(gemma2, {{"num_hidden_layers", 42}})), HasSubstr("GGUF has 128"));
  json gemma3 = With(gemma2, {{"architectures", {"Gemma3ForCausalLM"}}, {"query_pre_attn_scalar", 168}});
  gemma3.update({{"hidden_size", 5376}, {"num_hidden_layers", 62}});
  EXPECT_TRUE(Describe(gemma3).ok());
}

TEST_F(DescribeConfigTest, WhatGemma3LeavesToTransformers) {
  const auto described = *Describe({{"architectures", {"Gemma3ForConditionalGeneration"}},
                                    {"text_config",
                                     {{"hidden_size", 2560},
                                      {"intermediate_size", 10240},
                                      {"num_hidden_layers", 34},
                                      {"sliding_window", 1024},
                                      {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}}}}});
  EXPECT_EQ(described.model.q_heads[33], 8);
  EXPECT_EQ(described.model.kv_heads[0], 4);
  EXPECT_EQ(described.model.head_dim, 256);
  EXPECT_EQ(described.model.vocab, 262208);
  EXPECT_EQ(described.model.context, 131072);
}

TEST_F(DescribeConfigTest, MiniCpm3sLatentAttention) {
  const json minicpm3 = With(Llama(), {{"architectures", {"MiniCPM3ForCausalLM"}},
                                       {"q_lora_rank", 24},
                                       {"kv_lora_rank", 20},
                                       {"qk_nope_head_dim", 12},
                                       {"qk_rope_head_dim", 8},
                                       {"scale_emb", 12},
                                       {"scale_depth", 1.4},
                                       {"dim_model_base", 256}});
  const GgufFile& keys = Keys(minicpm3);
  EXPECT_EQ(*keys.GetInt("minicpm3.attention.key_length"), 20);
  EXPECT_EQ(*keys.GetInt("minicpm3.attention.value_length"), 16);
  EXPECT_EQ(*keys.GetInt("minicpm3.rope.dimension_count"), 8);
  EXPECT_EQ(*keys.GetInt("minicpm3.attention.q_lora_rank"), 24);
  EXPECT_THAT(Complaint(With(minicpm3, {{"scale_emb", 10}})), HasSubstr("scale_emb is 10, and GGUF has 12"));
}

TEST_F(DescribeConfigTest, OpenElmsWidths) {
  // Of the 270M model.
  const json openelm = {{"architectures", {"OpenELMForCausalLM"}},
                        {"model_dim", 1280},
                        {"num_transformer_layers", 3},
                        {"head_dim", 64},
                        {"num_query_heads", {12, 16, 20}},
                        {"num_kv_heads", {3, 4, 5}},
                        {"ffn_multipliers", {0.5, 2.13, 4.0}},
                        {"ffn_dim_divisor", 256},
                        {"rope_freq_constant", 10000},
                        {"max_context_length", 2048},
                        {"activation_fn_name", "swish"},
                        {"vocab_size", 32000}};
  const auto described = *Describe(openelm);
  EXPECT_THAT(described.model.ffn, ElementsAre(768, 2816, 5120));
  const GgufFile& keys = Keys(openelm);
  EXPECT_THAT(**keys.FindInts("openelm.attention.head_count"), ElementsAre(12, 16, 20));
  EXPECT_THAT(**keys.FindInts("openelm.feed_forward_length"), ElementsAre(768, 2816, 5120));
  EXPECT_EQ(*keys.GetInt("openelm.attention.key_length"), 64);
  EXPECT_FLOAT_EQ(*keys.GetDouble("openelm.attention.layer_norm_rms_epsilon"), 1e-6);
}

TEST_F(DescribeConfigTest, OpenLmIsBuiltInOneWayOfSeveral) {
  // Of DCLM-1B.
  const json params = {{"dim", 2048},
                       {"n_layers", 24},
                       {"n_heads", 16},
                       {"vocab_size", 50432},
                       {"seq_len", 2048},
                       {"apply_qk_norm", true},
                       {"qk_norm", true},
                       {"post_embed_norm", false},
                       {"weight_tying", false},
                       {"norm_eps", 1e-5},
                       {"norm_type", "gain_only_lp_layer_norm"},
                       {"model_norm", "gain_only_lp_layer_norm"},
                       {"positional_embedding_type", "rotary"},
                       {"ffn_type", "swiglu_torch"},
                       {"attn_name", "auto"},
                       {"attn_activation", nullptr}};
  EXPECT_EQ(Describe({{"model_type", "openlm"}, {"params_args_dict", params}})->model.ffn[0], 5632);
  const json other = {{"norm_type", "rms_norm"},
                      {"model_norm", "no_wb_layer_norm"},
                      {"positional_embedding_type", "head_rotary"},
                      {"ffn_type", "gelu"},
                      {"attn_name", "custom_attn"}};
  EXPECT_THAT(Complaint({{"model_type", "openlm"}, {"params_args_dict", With(params, other)}}),
              AllOf(HasSubstr("norm_type is \"rms_norm\", which is not supported (gain_only_lp_layer_norm, gain_only"),
                    HasSubstr("model_norm is \"no_wb_layer_norm\""),
                    HasSubstr("positional_embedding_type is \"head_rotary\", which is not supported (rotary)"),
                    HasSubstr("ffn_type is \"gelu\""), HasSubstr("attn_name is \"custom_attn\"")));
}

TEST_F(DescribeConfigTest, QwenStatesGateAndUpTogether) {
  const json qwen =
      With(Llama(), {{"architectures", {"QWenLMHeadModel"}}, {"num_key_value_heads", 4}, {"seq_length", 128}});
  EXPECT_EQ(Describe(qwen)->model.ffn[0], 48);
  EXPECT_EQ(*Keys(qwen).GetInt("qwen.feed_forward_length"), 96);
  EXPECT_EQ(*file_->GetInt("qwen.context_length"), 128);
  EXPECT_EQ(*Keys(With(qwen, {{"use_dynamic_ntk", true}})).GetString("qwen.rope.scaling.type"), "dynamic_doubling");
  EXPECT_EQ(*file_->GetInt("qwen.rope.scaling.original_context_length"), 128);
  EXPECT_EQ(*file_->GetInt("qwen.context_length"), 512);
  EXPECT_EQ(*Keys(With(qwen, {{"use_logn_attn", true}})).GetInt("qwen.attention.logn_length"), 128);
}

TEST_F(DescribeConfigTest, EverythingWrongIsSaidAtOnce) {
  json config = With(Llama(), {{"num_key_value_heads", 3},
                               {"hidden_act", "relu"},
                               {"quantization_config", {{"quant_method", "gptq"}}},
                               {"num_local_experts", 8},
                               {"rope_scaling", {{"type", "ntk"}, {"factor", 2}}}});
  config.erase("rms_norm_eps");
  EXPECT_THAT(Complaint(config),
              AllOf(HasSubstr("rms_norm_eps is missing"), HasSubstr("does not divide the 4 query heads"),
                    HasSubstr("the activation \"relu\" is not what \"llama\" computes"),
                    HasSubstr("the weights are quantized"), HasSubstr("a mixture of 8 experts"),
                    HasSubstr("RoPE of type \"ntk\" is not supported (default, linear, dynamic, llama3,")));
}

TEST_F(DescribeConfigTest, NothingIsConcludedFromAValueThatIsWrong) {
  json config = Llama();
  config.erase("hidden_size");
  EXPECT_THAT(Complaint(config),
              AllOf(HasSubstr("hidden_size is missing"), Not(HasSubstr("divide")), Not(HasSubstr("dimensions"))));
  const json uneven = With(Llama(), {{"hidden_size", 67}, {"rope_parameters", {{"partial_rotary_factor", 0.9}}}});
  EXPECT_THAT(Complaint(uneven),
              AllOf(HasSubstr("4 heads do not divide the width of 67"), Not(HasSubstr("dimensions"))));
  json qwen = With(Llama(), {{"architectures", {"QWenLMHeadModel"}}, {"intermediate_size", 0}});
  EXPECT_THAT(Complaint(qwen), AllOf(HasSubstr("intermediate_size is 0, must be from"), Not(HasSubstr("even"))));
}

TEST_F(DescribeConfigTest, AnUnknownArchitectureIsAnsweredWithTheNearest) {
  EXPECT_THAT(Complaint(With(Llama(), {{"architectures", {"LlamaForCausalML"}}})),
              HasSubstr("\"LlamaForCausalML\" is not supported; the nearest that is: LlamaForCausalLM"));
  EXPECT_THAT(Complaint(With(Llama(), {{"architectures", {"MambaForCausalLM"}}})), HasSubstr("\"MambaForCausalLM\""));
  EXPECT_THAT(
      Complaint({{"architectures", {"OLMoForCausalLM"}}, {"d_model", 2048}}),
      HasSubstr("\"OLMoForCausalLM\" is not supported; take the model from its repository whose name ends in -hf"));
  EXPECT_THAT(Complaint({{"hidden_size", 3}}), HasSubstr("names neither architectures nor model_type"));
  // Where none is named, by the model's type.
  EXPECT_EQ((*Describe(With(Llama(), {{"architectures", nullptr}, {"model_type", "mistral"}}))).family->gguf, "llama");
}

TEST(HfFamilies, NamesAreOfOneRowEach) {
  std::set<std::string> architectures, types;
  for (const HfFamily& family : HfFamilies()) {
    for (const std::string_view name : base::StrSplit(family.architectures, ' ')) {
      EXPECT_TRUE(architectures.emplace(name).second) << name;
    }
    for (const std::string_view name : base::StrSplit(family.model_types, ' ')) {
      EXPECT_TRUE(types.emplace(name).second) << name;
    }
  }
}

bool Has(const HfFamily& family, TensorChange change) {
  for (const TensorRules rules : family.tensors) {
    for (const TensorRule& rule : rules) {
      if (rule.change == change) return true;
    }
  }
  return false;
}

std::string Row(const HfFamily& family) {
  std::vector<std::string> names, changes;
  for (const std::string_view name : base::StrSplit(family.architectures, ' ')) {
    names.push_back(base::StrCat("`", name, "`"));
  }
  const auto add = [&](bool has, const char* what) {
    if (has) changes.emplace_back(what);
  };
  add(family.rope == HfRopeUse::kNeighbours, "rows of Q and K");
  add(Has(family, TensorChange::kByKind), "rows of QKV");
  add(Has(family, TensorChange::kTransposed), "matrices transposed");
  add(Has(family, TensorChange::kUpperHalf), "gate and up apart");
  add(family.norms_from_zero, "norms as 1 + w");
  add(Has(family, TensorChange::kFromRowTwo), "positions without two rows");
  return base::StrCat("| ", absl::StrJoin(names, ", "), " | `", family.gguf, "` | ", absl::StrJoin(changes, ", "),
                      " |\n");
}

TEST(HfFamilies, AreInTheDocumentation) {
  const std::string document = *base::ReadFile("docs/models.md");
  for (const HfFamily& family : HfFamilies()) {
    EXPECT_THAT(document, HasSubstr(Row(family))) << "docs/models.md should have this row:\n" << Row(family);
  }
}

}  // namespace
}  // namespace linnet::worker
