// Architectures that GGUF has no name for, laid out as docs/models.md says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "worker/checkpoint/convert_test_fixture.h"

namespace linnet::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ConvertOwnTest : public ConvertTest {
 protected:
  // Width 4, inner width of embeddings 2, two positions.
  void Opt(bool like_350m, bool biases = true) {
    config_ = {{"architectures", {"OPTForCausalLM"}},
               {"hidden_size", 4},
               {"num_hidden_layers", 1},
               {"num_attention_heads", 2},
               {"ffn_dim", 3},
               {"vocab_size", kVocab},
               {"max_position_embeddings", 2},
               {"activation_function", like_350m ? "relu" : "gelu"}};
    const std::string model = "model.decoder.", layer = model + "layers.0.";
    Counting(model + "embed_tokens.weight", {kVocab, like_350m ? 2 : 4});
    Counting(model + "embed_positions.weight", {4, 4});
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      Counting(base::StrCat(layer, "self_attn.", name, ".weight"), {4, 4});
      if (biases) Counting(base::StrCat(layer, "self_attn.", name, ".bias"), {4});
    }
    Counting(layer + "fc1.weight", {3, 4});
    if (biases) Counting(layer + "fc1.bias", {3});
    Counting(layer + "fc2.weight", {4, 3});
    if (biases) Counting(layer + "fc2.bias", {4});
    Norm(layer + "self_attn_layer_norm", 10);
    Norm(layer + "final_layer_norm", 20);
    if (!like_350m) return Norm(model + "final_layer_norm", 30);
    config_["do_layer_norm_before"] = false;
    config_["word_embed_proj_dim"] = 2;
    Counting(model + "project_in.weight", {4, 2});
    Counting(model + "project_out.weight", {2, 4});
  }
  void Norm(const std::string& name, float first) {
    Counting(name + ".weight", {4}, first);
    Counting(name + ".bias", {4}, first + 4);
  }
};

TEST_F(ConvertOwnTest, OptsFirstTwoPositionsAreNone) {
  Opt(false);
  const GgufFile& file = Convert();
  EXPECT_THAT(Values("position_embd.weight"), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  EXPECT_EQ(*file.GetString("general.architecture"), "opt");
  EXPECT_EQ(*file.GetString("opt.hidden_activation"), "gelu");
  EXPECT_EQ(*file.GetInt("opt.context_length"), 2);
  EXPECT_FLOAT_EQ(*file.GetDouble("opt.attention.layer_norm_epsilon"), 1e-5);
  EXPECT_EQ(Values("blk.0.attn_norm.weight")[0], 10);
  EXPECT_EQ(Values("blk.0.ffn_norm.bias")[0], 24);
  EXPECT_EQ(Values("output_norm.weight")[0], 30);
  EXPECT_EQ(file.FindTensor("output.weight"), nullptr);
}

TEST_F(ConvertOwnTest, Opt350MsNormsStandBehindAndItsEmbeddingsAreNarrow) {
  Opt(true);
  const GgufFile& file = Convert();
  EXPECT_TRUE(*file.GetBoolOr("opt.norm_after_residual", false));
  EXPECT_EQ(*file.GetInt("opt.token_embedding_length"), 2);
  EXPECT_EQ(Values("blk.0.attn_output_norm.weight")[0], 10);
  EXPECT_EQ(Values("blk.0.layer_output_norm.weight")[0], 20);
  EXPECT_THAT(Dims("token_embd_proj.weight"), ElementsAre(2, 4));
  EXPECT_THAT(Dims("output_proj.weight"), ElementsAre(4, 2));
  EXPECT_EQ(file.FindTensor("output_norm.weight"), nullptr);
}

TEST_F(ConvertOwnTest, OptHasBiasesUnlessItSaysOtherwise) {
  Opt(false, /*biases=*/false);
  EXPECT_THAT(Complaint(), AllOf(HasSubstr("self_attn.q_proj.bias is missing"), HasSubstr("fc2.bias is missing")));
  config_["enable_bias"] = false;
  EXPECT_EQ(Convert().FindTensor("blk.0.attn_q.bias"), nullptr);
}

TEST_F(ConvertOwnTest, MobileLlmsBlocksRunTwice) {
  Llama();
  config_.update({{"architectures", {"MobileLLMForCausalLM"}},
                  {"share_embedding", true},
                  {"layer_sharing", true},
                  {"tie_word_embeddings", false}});
  const GgufFile& file = Convert();
  EXPECT_EQ(*file.GetInt("mobilellm.block_repeat"), 2);
  EXPECT_EQ(Values("blk.0.attn_q.weight")[4], 4);  // nothing is reordered
}

class MobiLlamaTest : public ConvertTest {
 protected:
  // Of two blocks.
  void MobiLlama(bool second_ffn, float second_first) {
    Llama();
    config_.update({{"architectures", {"MobiLlamaForCausalLM"}},
                    {"num_hidden_layers", 2},
                    {"tie_word_embeddings", true},
                    {"num_attention_heads", 2},
                    {"num_key_value_heads", 1}});
    const std::string layer = "model.layers.1.";
    for (const char* name : {"q", "k", "v", "o"})
      Counting(base::StrCat(layer, "self_attn.", name, "_proj.weight"), {4, 4});
    Counting(layer + "input_layernorm.weight", {4});
    Counting(layer + "post_attention_layernorm.weight", {4});
    if (!second_ffn) return;
    Counting(layer + "mlp.gate_proj.weight", {3, 4}, second_first);
    Counting(layer + "mlp.up_proj.weight", {3, 4}, second_first);
    Counting(layer + "mlp.down_proj.weight", {4, 3}, second_first);
  }
};

TEST_F(MobiLlamaTest, OneFfnForAllIsKeptOnce) {
  for (const bool again : {false, true}) {
    writer_ = {};
    MobiLlama(again, 0);
    const GgufFile& file = Convert();
    EXPECT_TRUE(*file.GetBoolOr("mobillama.feed_forward_shared", false));
    EXPECT_EQ(*file.GetInt("mobillama.attention.head_count_kv"), 2);  // whatever its configuration says
    EXPECT_NE(file.FindTensor("blk.0.ffn_up.weight"), nullptr);
    EXPECT_EQ(file.FindTensor("blk.1.ffn_up.weight"), nullptr);
  }
}

TEST_F(MobiLlamaTest, FfnsOfTheirOwnAreKept) {
  MobiLlama(true, 1);
  const GgufFile& file = Convert();
  EXPECT_FALSE(*file.GetBoolOr("mobillama.feed_forward_shared", false));
  EXPECT_EQ(Values("blk.1.ffn_up.weight")[0], 1);
}

TEST_F(ConvertOwnTest, PanguPisShortcutsLieTogether) {
  Llama();
  config_.update({{"architectures", {"PanguPiForCausalLM"}},
                  {"num_augmented_shortcuts", 2},
                  {"shortcut_reduction", 2},
                  {"series_activation_n", 2}});
  Counting("lm_head.weight", {kVocab, 4});
  const std::string layer = "model.layers.0.";
  for (const int t : {0, 1}) {
    Counting(base::StrCat(layer, "self_attn.shortcuts.", t, ".down_proj.weight"), {2, 4}, 100.0f * t);
    Counting(base::StrCat(layer, "self_attn.shortcuts.", t, ".up_proj.weight"), {4, 2}, 100.0f * t);
  }
  Counting(layer + "mlp.series.scale", {2, 3});
  Counting(layer + "mlp.series.bias", {2, 3});
  const GgufFile& file = Convert();
  EXPECT_EQ(*file.GetInt("pangu_pi.shortcut_length"), 4);
  EXPECT_EQ(*file.GetInt("pangu_pi.series_activation_count"), 2);
  EXPECT_THAT(Dims("blk.0.shortcut_down.weight"), ElementsAre(4, 4));
  EXPECT_EQ(Values("blk.0.shortcut_down.weight")[8], 100);
  EXPECT_THAT(Dims("blk.0.shortcut_up.weight"), ElementsAre(4, 4));
  EXPECT_THAT(Values("blk.0.shortcut_up.weight"),
              ElementsAre(0, 1, 100, 101, 2, 3, 102, 103, 4, 5, 104, 105, 6, 7, 106, 107));
  EXPECT_THAT(Dims("blk.0.ffn_series.scale"), ElementsAre(6));
}

TEST_F(ConvertOwnTest, MiniCpm3sLatentAttention) {
  config_ = {{"architectures", {"MiniCPM3ForCausalLM"}},
             {"hidden_size", 4},
             {"num_hidden_layers", 1},
             {"num_attention_heads", 2},
             {"intermediate_size", 3},
             {"vocab_size", kVocab},
             {"rms_norm_eps", 1e-6},
             {"q_lora_rank", 5},
             {"kv_lora_rank", 6},
             {"qk_nope_head_dim", 3},
             {"qk_rope_head_dim", 2},
             {"max_position_embeddings", 16}};
  const std::string layer = "model.layers.0.";
  Counting("model.embed_tokens.weight", {kVocab, 4});
  for (const std::string& norm :
       {std::string("model.norm"), layer + "input_layernorm", layer + "post_attention_layernorm"}) {
    Counting(norm + ".weight", {4});
  }
  Counting(layer + "self_attn.q_a_proj.weight", {5, 4});
  Counting(layer + "self_attn.q_a_layernorm.weight", {5});
  Counting(layer + "self_attn.q_b_proj.weight", {10, 5});
  Counting(layer + "self_attn.kv_a_proj_with_mqa.weight", {8, 4});
  Counting(layer + "self_attn.kv_a_layernorm.weight", {6});
  Counting(layer + "self_attn.kv_b_proj.weight", {10, 6});
  Counting(layer + "self_attn.o_proj.weight", {4, 4});
  Counting(layer + "mlp.gate_proj.weight", {3, 4});
  Counting(layer + "mlp.up_proj.weight", {3, 4});
  Counting(layer + "mlp.down_proj.weight", {4, 3});
  Convert();
  EXPECT_THAT(Dims("blk.0.attn_kv_a_mqa.weight"), ElementsAre(4, 8));
  EXPECT_THAT(Dims("blk.0.attn_kv_b.weight"), ElementsAre(6, 10));
  EXPECT_THAT(Dims("blk.0.attn_q_b.weight"), ElementsAre(5, 10));
}

TEST_F(ConvertOwnTest, OpenLmsConfigurationIsAGroup) {
  config_ = {{"model_type", "openlm"},
             {"params_args_dict",
              {{"dim", 4},
               {"n_layers", 1},
               {"n_heads", 1},
               {"vocab_size", kVocab},
               {"seq_len", 16},
               {"qk_norm", true},
               {"weight_tying", false}}}};
  const std::string layer = "model.layers.0.";
  Counting("model.tok_embeddings.weight", {kVocab, 4});
  Counting("model.output.weight", {kVocab, 4}, 7);
  for (const std::string& norm : {std::string("model.norm"), layer + "attention_norm", layer + "ffn_norm",
                                  layer + "attention.q_norm", layer + "attention.k_norm"}) {
    Counting(norm + ".weight", {4});
  }
  Counting(layer + "attention.in_proj.weight", {12, 4});
  Counting(layer + "attention.out_proj.weight", {4, 4});
  Counting(layer + "feed_forward.w12.weight", {512, 4});
  Counting(layer + "feed_forward.w3.weight", {4, 256});
  Counting(layer + "attention.pos_embed.inv_freq", {2});
  const GgufFile& file = Convert();
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("1 tensors *.inv_freq")));
  EXPECT_EQ(*file.GetInt("openlm.feed_forward_length"), 256);
  EXPECT_EQ(*file.GetInt("openlm.context_length"), 16);
  EXPECT_EQ(Values("output.weight")[0], 7);
  EXPECT_THAT(Dims("blk.0.attn_qkv.weight"), ElementsAre(4, 12));
}

TEST_F(ConvertOwnTest, RecurrentGemmasBlocksAreOfTwoKinds) {
  config_ = {{"architectures", {"RecurrentGemmaForCausalLM"}},
             {"hidden_size", 4},
             {"num_hidden_layers", 2},
             {"num_attention_heads", 2},
             {"num_key_value_heads", 1},
             {"head_dim", 4},
             {"intermediate_size", 6},
             {"vocab_size", kVocab},
             {"rms_norm_eps", 1e-6},
             {"block_types", {"recurrent", "attention"}},
             {"lru_width", 4},
             {"conv1d_width", 3},
             {"attention_window_size", 8},
             {"logits_soft_cap", 20}};
  Counting("model.embed_tokens.weight", {kVocab, 4});
  Counting("model.final_norm.weight", {4});
  for (const int l : {0, 1}) {
    const std::string layer = base::StrCat("model.layers.", l, ".");
    Counting(layer + "temporal_pre_norm.weight", {4});
    Counting(layer + "channel_pre_norm.weight", {4});
    for (const char* name : {"gate", "up"}) {
      Counting(base::StrCat(layer, "mlp_block.", name, "_proj.weight"), {3, 4});
      Counting(base::StrCat(layer, "mlp_block.", name, "_proj.bias"), {3});
    }
    Counting(layer + "mlp_block.down_proj.weight", {4, 3});
    Counting(layer + "mlp_block.down_proj.bias", {4});
  }
  const std::string recurrent = "model.layers.0.temporal_block.", attending = "model.layers.1.temporal_block.";
  for (const char* name : {"linear_x", "linear_y", "linear_out"}) {
    Counting(base::StrCat(recurrent, name, ".weight"), {4, 4});
    Counting(base::StrCat(recurrent, name, ".bias"), {4});
  }
  Counting(recurrent + "conv_1d.weight", {4, 1, 3});
  Counting(recurrent + "conv_1d.bias", {4});
  Counting(recurrent + "rg_lru.recurrent_param", {4});
  for (const char* gate : {"input_gate", "recurrent_gate"}) {
    Counting(base::StrCat(recurrent, "rg_lru.", gate, "_weight"), {2, 2, 2});
    Counting(base::StrCat(recurrent, "rg_lru.", gate, "_bias"), {2, 2});
  }
  Counting(attending + "q_proj.weight", {8, 4});
  Counting(attending + "k_proj.weight", {4, 4});
  Counting(attending + "v_proj.weight", {4, 4});
  Counting(attending + "o_proj.weight", {4, 8});
  Counting(attending + "o_proj.bias", {4});
  const GgufFile& file = Convert();
  EXPECT_THAT(**file.FindInts("recurrentgemma.attention.head_count_kv"), ElementsAre(0, 1));
  EXPECT_EQ(*file.GetInt("recurrentgemma.feed_forward_length"), 3);
  EXPECT_EQ(*file.GetInt("recurrentgemma.attention.sliding_window"), 8);
  EXPECT_EQ(*file.GetInt("recurrentgemma.rope.dimension_count"), 2);
  EXPECT_EQ(*file.GetInt("recurrentgemma.rglru.conv_kernel"), 3);
  EXPECT_EQ(Values("blk.0.attn_norm.weight")[0], 1);
  // The oldest tap of all channels, then the next.
  EXPECT_THAT(Values("blk.0.rglru_conv.weight"), ElementsAre(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11));
  EXPECT_THAT(Dims("blk.0.rglru_input_gate.weight"), ElementsAre(2, 4));
  EXPECT_THAT(Values("blk.0.rglru_input_gate.bias"), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(file.FindTensor("blk.0.attn_q.weight"), nullptr);
  EXPECT_EQ(file.FindTensor("blk.1.rglru_x.weight"), nullptr);
  EXPECT_NE(file.FindTensor("blk.1.attn_q.weight"), nullptr);
}

}  // namespace
}  // namespace linnet::worker
