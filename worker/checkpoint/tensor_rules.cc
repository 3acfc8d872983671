#include "worker/checkpoint/tensor_rules.h"

namespace linnet::worker {

std::string Numbered(std::string_view pattern, char mark, int64_t number) {
  std::string name(pattern);
  if (const size_t at = name.find(mark); at != std::string::npos) name.replace(at, 1, std::to_string(number));
  return name;
}

namespace rules {
namespace {

using enum TensorSize;
using enum TensorChange;
using enum Presence;
using Layers::kAttending;

constexpr TensorRule kEmbeddingRules[] = {
    {"embed_tokens.weight", "token_embd.weight", kVocab, kModel},
    {"lm_head.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"norm.weight", "output_norm.weight", kModel, kNone, kNorm},
};

constexpr TensorRule kNormRules[] = {
    {"layers.$.input_layernorm.weight", "blk.$.attn_norm.weight", kModel, kNone, kNorm},
    {"layers.$.post_attention_layernorm.weight", "blk.$.ffn_norm.weight", kModel, kNone, kNorm},
};
constexpr TensorRule kLayerNormRules[] = {
    {"norm.bias", "output_norm.bias", kModel},
    {"layers.$.input_layernorm.weight", "blk.$.attn_norm.weight", kModel, kNone, kNorm},
    {"layers.$.input_layernorm.bias", "blk.$.attn_norm.bias", kModel},
    {"layers.$.post_attention_layernorm.weight", "blk.$.ffn_norm.weight", kModel, kNone, kNorm},
    {"layers.$.post_attention_layernorm.bias", "blk.$.ffn_norm.bias", kModel},
};
constexpr TensorRule kNormAfterRules[] = {
    {"layers.$.post_attention_layernorm.weight", "blk.$.post_attention_norm.weight", kModel, kNone, kNorm},
    {"layers.$.post_feedforward_layernorm.weight", "blk.$.post_ffw_norm.weight", kModel, kNone, kNorm},
};
constexpr TensorRule kNormAroundRules[] = {
    {"layers.$.input_layernorm.weight", "blk.$.attn_norm.weight", kModel, kNone, kNorm},
    {"layers.$.post_attention_layernorm.weight", "blk.$.post_attention_norm.weight", kModel, kNone, kNorm},
    {"layers.$.pre_feedforward_layernorm.weight", "blk.$.ffn_norm.weight", kModel, kNone, kNorm},
    {"layers.$.post_feedforward_layernorm.weight", "blk.$.post_ffw_norm.weight", kModel, kNone, kNorm},
};

constexpr TensorRule kAttentionRules[] = {
    {"layers.$.self_attn.q_proj.weight", "blk.$.attn_q.weight", kQ, kModel, kQueries},
    {"layers.$.self_attn.k_proj.weight", "blk.$.attn_k.weight", kKv, kModel, kKeys},
    {"layers.$.self_attn.v_proj.weight", "blk.$.attn_v.weight", kKv, kModel},
    {"layers.$.self_attn.o_proj.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"layers.$.self_attn.q_proj.bias", "blk.$.attn_q.bias", kQ, kNone, kQueries, kQkvBias},
    {"layers.$.self_attn.k_proj.bias", "blk.$.attn_k.bias", kKv, kNone, kKeys, kQkvBias},
    {"layers.$.self_attn.v_proj.bias", "blk.$.attn_v.bias", kKv, kNone, kAsIs, kQkvBias},
    {"layers.$.self_attn.o_proj.bias", "blk.$.attn_output.bias", kModel, kNone, kAsIs, kOutBias},
};
constexpr size_t kAttentionMatrixRules = 4;  // at the beginning of these
constexpr TensorRule kRequiredQkvBiasRules[] = {
    {"layers.$.self_attn.q_proj.bias", "blk.$.attn_q.bias", kQ, kNone, kQueries},
    {"layers.$.self_attn.k_proj.bias", "blk.$.attn_k.bias", kKv, kNone, kKeys},
    {"layers.$.self_attn.v_proj.bias", "blk.$.attn_v.bias", kKv},
};
constexpr TensorRule kLatentAttentionRules[] = {
    {"layers.$.self_attn.q_a_proj.weight", "blk.$.attn_q_a.weight", kQLatent, kModel},
    {"layers.$.self_attn.q_a_layernorm.weight", "blk.$.attn_q_a_norm.weight", kQLatent},
    {"layers.$.self_attn.q_b_proj.weight", "blk.$.attn_q_b.weight", kQ, kQLatent},
    {"layers.$.self_attn.kv_a_proj_with_mqa.weight", "blk.$.attn_kv_a_mqa.weight", kKvLatentAndRope, kModel},
    {"layers.$.self_attn.kv_a_layernorm.weight", "blk.$.attn_kv_a_norm.weight", kKvLatent},
    {"layers.$.self_attn.kv_b_proj.weight", "blk.$.attn_kv_b.weight", kLatentKv, kKvLatent},
    {"layers.$.self_attn.o_proj.weight", "blk.$.attn_output.weight", kModel, kValues},
};
constexpr TensorRule kHeadNormRules[] = {
    {"layers.$.self_attn.q_norm.weight", "blk.$.attn_q_norm.weight", kHead, kNone, kNorm},
    {"layers.$.self_attn.k_norm.weight", "blk.$.attn_k_norm.weight", kHead, kNone, kNorm},
};
constexpr TensorRule kOwnHeadNormRules[] = {
    {"layers.$.self_attn.q_layernorm.norms.%.weight", "blk.$.attn_q_norm.weight", kHead, kNone, kOfQueries},
    {"layers.$.self_attn.k_layernorm.norms.%.weight", "blk.$.attn_k_norm.weight", kHead, kNone, kOfKeys},
};
constexpr TensorRule kAllHeadNormRules[] = {
    {"layers.$.self_attn.q_norm.weight", "blk.$.attn_q_norm.weight", kQ, kNone, kNorm},
    {"layers.$.self_attn.k_norm.weight", "blk.$.attn_k_norm.weight", kKv, kNone, kNorm},
};

constexpr TensorRule kGatedFfnRules[] = {
    {"layers.$.mlp.gate_proj.weight", "blk.$.ffn_gate.weight", kFfn, kModel},
    {"layers.$.mlp.up_proj.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"layers.$.mlp.down_proj.weight", "blk.$.ffn_down.weight", kModel, kFfn},
    {"layers.$.mlp.gate_proj.bias", "blk.$.ffn_gate.bias", kFfn, kNone, kAsIs, kFfnBias},
    {"layers.$.mlp.up_proj.bias", "blk.$.ffn_up.bias", kFfn, kNone, kAsIs, kFfnBias},
    {"layers.$.mlp.down_proj.bias", "blk.$.ffn_down.bias", kModel, kNone, kAsIs, kFfnBias},
};
constexpr TensorRule kPlainFfnRules[] = {
    {"layers.$.mlp.up_proj.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"layers.$.mlp.down_proj.weight", "blk.$.ffn_down.weight", kModel, kFfn},
    {"layers.$.mlp.up_proj.bias", "blk.$.ffn_up.bias", kFfn, kNone, kAsIs, kFfnBias},
    {"layers.$.mlp.down_proj.bias", "blk.$.ffn_down.bias", kModel, kNone, kAsIs, kFfnBias},
};

constexpr TensorRule kBloomRules[] = {
    {"word_embeddings.weight", "token_embd.weight", kVocab, kModel},
    {"word_embeddings_layernorm.weight", "token_embd_norm.weight", kModel},
    {"word_embeddings_layernorm.bias", "token_embd_norm.bias", kModel},
    {"ln_f.weight", "output_norm.weight", kModel},
    {"ln_f.bias", "output_norm.bias", kModel},
    {"lm_head.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"h.$.input_layernorm.weight", "blk.$.attn_norm.weight", kModel},
    {"h.$.input_layernorm.bias", "blk.$.attn_norm.bias", kModel},
    {"h.$.self_attention.query_key_value.weight", "blk.$.attn_qkv.weight", kQkv, kModel, kByKind},
    {"h.$.self_attention.query_key_value.bias", "blk.$.attn_qkv.bias", kQkv, kNone, kByKind},
    {"h.$.self_attention.dense.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"h.$.self_attention.dense.bias", "blk.$.attn_output.bias", kModel},
    {"h.$.post_attention_layernorm.weight", "blk.$.ffn_norm.weight", kModel},
    {"h.$.post_attention_layernorm.bias", "blk.$.ffn_norm.bias", kModel},
    {"h.$.mlp.dense_h_to_4h.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"h.$.mlp.dense_h_to_4h.bias", "blk.$.ffn_up.bias", kFfn},
    {"h.$.mlp.dense_4h_to_h.weight", "blk.$.ffn_down.weight", kModel, kFfn},
    {"h.$.mlp.dense_4h_to_h.bias", "blk.$.ffn_down.bias", kModel},
};

constexpr TensorRule kGpt2Rules[] = {
    {"wte.weight", "token_embd.weight", kVocab, kModel},
    {"wpe.weight", "position_embd.weight", kPositions, kModel},
    {"ln_f.weight", "output_norm.weight", kModel},
    {"ln_f.bias", "output_norm.bias", kModel},
    {"lm_head.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"h.$.ln_1.weight", "blk.$.attn_norm.weight", kModel},
    {"h.$.ln_1.bias", "blk.$.attn_norm.bias", kModel},
    {"h.$.attn.c_attn.weight", "blk.$.attn_qkv.weight", kModel, kQkv, kTransposed},
    {"h.$.attn.c_attn.bias", "blk.$.attn_qkv.bias", kQkv},
    {"h.$.attn.c_proj.weight", "blk.$.attn_output.weight", kQ, kModel, kTransposed},
    {"h.$.attn.c_proj.bias", "blk.$.attn_output.bias", kModel},
    {"h.$.ln_2.weight", "blk.$.ffn_norm.weight", kModel},
    {"h.$.ln_2.bias", "blk.$.ffn_norm.bias", kModel},
    {"h.$.mlp.c_fc.weight", "blk.$.ffn_up.weight", kModel, kFfn, kTransposed},
    {"h.$.mlp.c_fc.bias", "blk.$.ffn_up.bias", kFfn},
    {"h.$.mlp.c_proj.weight", "blk.$.ffn_down.weight", kFfn, kModel, kTransposed},
    {"h.$.mlp.c_proj.bias", "blk.$.ffn_down.bias", kModel},
};

constexpr TensorRule kGptNeoXRules[] = {
    {"embed_in.weight", "token_embd.weight", kVocab, kModel},
    {"final_layer_norm.weight", "output_norm.weight", kModel},
    {"final_layer_norm.bias", "output_norm.bias", kModel},
    {"embed_out.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"layers.$.input_layernorm.weight", "blk.$.attn_norm.weight", kModel},
    {"layers.$.input_layernorm.bias", "blk.$.attn_norm.bias", kModel},
    {"layers.$.attention.query_key_value.weight", "blk.$.attn_qkv.weight", kQkv, kModel, kByKind},
    {"layers.$.attention.query_key_value.bias", "blk.$.attn_qkv.bias", kQkv, kNone, kByKind},
    {"layers.$.attention.dense.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"layers.$.attention.dense.bias", "blk.$.attn_output.bias", kModel},
    {"layers.$.post_attention_layernorm.weight", "blk.$.ffn_norm.weight", kModel},
    {"layers.$.post_attention_layernorm.bias", "blk.$.ffn_norm.bias", kModel},
    {"layers.$.mlp.dense_h_to_4h.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"layers.$.mlp.dense_h_to_4h.bias", "blk.$.ffn_up.bias", kFfn},
    {"layers.$.mlp.dense_4h_to_h.weight", "blk.$.ffn_down.weight", kModel, kFfn},
    {"layers.$.mlp.dense_4h_to_h.bias", "blk.$.ffn_down.bias", kModel},
};

constexpr TensorRule kOpenElmRules[] = {
    {"token_embeddings.weight", "token_embd.weight", kVocab, kModel},
    {"norm.weight", "output_norm.weight", kModel},
    {"lm_head.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"layers.$.attn_norm.weight", "blk.$.attn_norm.weight", kModel},
    {"layers.$.attn.qkv_proj.weight", "blk.$.attn_qkv.weight", kQkv, kModel},
    {"layers.$.attn.q_norm.weight", "blk.$.attn_q_norm.weight", kHead},
    {"layers.$.attn.k_norm.weight", "blk.$.attn_k_norm.weight", kHead},
    {"layers.$.attn.out_proj.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"layers.$.ffn_norm.weight", "blk.$.ffn_norm.weight", kModel},
    {"layers.$.ffn.proj_1.weight", "blk.$.ffn_gate.weight", kTwoFfn, kModel, kUpperHalf},
    {"layers.$.ffn.proj_1.weight", "blk.$.ffn_up.weight", kTwoFfn, kModel, kLowerHalf},
    {"layers.$.ffn.proj_2.weight", "blk.$.ffn_down.weight", kModel, kFfn},
};

constexpr TensorRule kPhiRules[] = {
    {"embed_tokens.weight", "token_embd.weight", kVocab, kModel},
    {"final_layernorm.weight", "output_norm.weight", kModel},
    {"final_layernorm.bias", "output_norm.bias", kModel},
    {"lm_head.weight", "output.weight", kVocab, kModel},
    {"lm_head.bias", "output.bias", kVocab},
    {"layers.$.input_layernorm.weight", "blk.$.attn_norm.weight", kModel},
    {"layers.$.input_layernorm.bias", "blk.$.attn_norm.bias", kModel},
    {"layers.$.self_attn.q_proj.weight", "blk.$.attn_q.weight", kQ, kModel},
    {"layers.$.self_attn.k_proj.weight", "blk.$.attn_k.weight", kKv, kModel},
    {"layers.$.self_attn.v_proj.weight", "blk.$.attn_v.weight", kKv, kModel},
    {"layers.$.self_attn.q_proj.bias", "blk.$.attn_q.bias", kQ},
    {"layers.$.self_attn.k_proj.bias", "blk.$.attn_k.bias", kKv},
    {"layers.$.self_attn.v_proj.bias", "blk.$.attn_v.bias", kKv},
    {"layers.$.self_attn.dense.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"layers.$.self_attn.dense.bias", "blk.$.attn_output.bias", kModel},
    {"layers.$.mlp.fc1.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"layers.$.mlp.fc1.bias", "blk.$.ffn_up.bias", kFfn},
    {"layers.$.mlp.fc2.weight", "blk.$.ffn_down.weight", kModel, kFfn},
    {"layers.$.mlp.fc2.bias", "blk.$.ffn_down.bias", kModel},
};

constexpr TensorRule kPhi3Rules[] = {
    {"layers.$.self_attn.qkv_proj.weight", "blk.$.attn_qkv.weight", kQkv, kModel},
    {"layers.$.self_attn.o_proj.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"layers.$.mlp.gate_up_proj.weight", "blk.$.ffn_up.weight", kTwoFfn, kModel},
    {"layers.$.mlp.down_proj.weight", "blk.$.ffn_down.weight", kModel, kFfn},
};

constexpr TensorRule kQwenRules[] = {
    {"wte.weight", "token_embd.weight", kVocab, kModel},
    {"ln_f.weight", "output_norm.weight", kModel},
    {"lm_head.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"h.$.ln_1.weight", "blk.$.attn_norm.weight", kModel},
    {"h.$.attn.c_attn.weight", "blk.$.attn_qkv.weight", kQkv, kModel},
    {"h.$.attn.c_attn.bias", "blk.$.attn_qkv.bias", kQkv},
    {"h.$.attn.c_proj.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"h.$.ln_2.weight", "blk.$.ffn_norm.weight", kModel},
    {"h.$.mlp.w2.weight", "blk.$.ffn_gate.weight", kFfn, kModel},  // the one that SiLU is of
    {"h.$.mlp.w1.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"h.$.mlp.c_proj.weight", "blk.$.ffn_down.weight", kModel, kFfn},
};

constexpr TensorRule kSharedFfnRules[] = {
    {"layers.$.mlp.gate_proj.weight", "blk.$.ffn_gate.weight", kFfn, kModel, kAsIs, kShared},
    {"layers.$.mlp.up_proj.weight", "blk.$.ffn_up.weight", kFfn, kModel, kAsIs, kShared},
    {"layers.$.mlp.down_proj.weight", "blk.$.ffn_down.weight", kModel, kFfn, kAsIs, kShared},
};

constexpr TensorRule kShortcutRules[] = {
    {"layers.$.self_attn.shortcuts.%.down_proj.weight", "blk.$.shortcut_down.weight", kShortcut, kModel, kStacked},
    {"layers.$.self_attn.shortcuts.%.up_proj.weight", "blk.$.shortcut_up.weight", kModel, kShortcut, kSideBySide},
};
constexpr TensorRule kSeriesRules[] = {
    {"layers.$.mlp.series.scale", "blk.$.ffn_series.scale", kSeries, kFfn, kFlat},
    {"layers.$.mlp.series.bias", "blk.$.ffn_series.bias", kSeries, kFfn, kFlat},
};

constexpr TensorRule kOptRules[] = {
    {"embed_tokens.weight", "token_embd.weight", kVocab, kEmbedding},
    {"embed_positions.weight", "position_embd.weight", kPaddedPositions, kModel, kFromRowTwo},
    {"lm_head.weight", "output.weight", kVocab, kEmbedding, kAsIs, kOutput},
    {"layers.$.self_attn.q_proj.weight", "blk.$.attn_q.weight", kQ, kModel},
    {"layers.$.self_attn.k_proj.weight", "blk.$.attn_k.weight", kKv, kModel},
    {"layers.$.self_attn.v_proj.weight", "blk.$.attn_v.weight", kKv, kModel},
    {"layers.$.self_attn.out_proj.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"layers.$.self_attn.q_proj.bias", "blk.$.attn_q.bias", kQ, kNone, kAsIs, kQkvBias},
    {"layers.$.self_attn.k_proj.bias", "blk.$.attn_k.bias", kKv, kNone, kAsIs, kQkvBias},
    {"layers.$.self_attn.v_proj.bias", "blk.$.attn_v.bias", kKv, kNone, kAsIs, kQkvBias},
    {"layers.$.self_attn.out_proj.bias", "blk.$.attn_output.bias", kModel, kNone, kAsIs, kOutBias},
    {"layers.$.fc1.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"layers.$.fc2.weight", "blk.$.ffn_down.weight", kModel, kFfn},
    {"layers.$.fc1.bias", "blk.$.ffn_up.bias", kFfn, kNone, kAsIs, kFfnBias},
    {"layers.$.fc2.bias", "blk.$.ffn_down.bias", kModel, kNone, kAsIs, kFfnBias},
};
constexpr TensorRule kOptNormBeforeRules[] = {
    {"final_layer_norm.weight", "output_norm.weight", kModel},
    {"final_layer_norm.bias", "output_norm.bias", kModel},
    {"layers.$.self_attn_layer_norm.weight", "blk.$.attn_norm.weight", kModel},
    {"layers.$.self_attn_layer_norm.bias", "blk.$.attn_norm.bias", kModel},
    {"layers.$.final_layer_norm.weight", "blk.$.ffn_norm.weight", kModel},
    {"layers.$.final_layer_norm.bias", "blk.$.ffn_norm.bias", kModel},
};
constexpr TensorRule kOptNormBehindRules[] = {
    {"layers.$.self_attn_layer_norm.weight", "blk.$.attn_output_norm.weight", kModel},
    {"layers.$.self_attn_layer_norm.bias", "blk.$.attn_output_norm.bias", kModel},
    {"layers.$.final_layer_norm.weight", "blk.$.layer_output_norm.weight", kModel},
    {"layers.$.final_layer_norm.bias", "blk.$.layer_output_norm.bias", kModel},
};
constexpr TensorRule kOptProjectionRules[] = {
    {"project_in.weight", "token_embd_proj.weight", kModel, kEmbedding},
    {"project_out.weight", "output_proj.weight", kEmbedding, kModel},
};

// open_lm's layout.
constexpr TensorRule kOpenLmRules[] = {
    {"tok_embeddings.weight", "token_embd.weight", kVocab, kModel},
    {"norm.weight", "output_norm.weight", kModel},
    {"output.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"layers.$.attention_norm.weight", "blk.$.attn_norm.weight", kModel},
    {"layers.$.attention.in_proj.weight", "blk.$.attn_qkv.weight", kQkv, kModel},
    {"layers.$.attention.q_norm.weight", "blk.$.attn_q_norm.weight", kQ},
    {"layers.$.attention.k_norm.weight", "blk.$.attn_k_norm.weight", kKv},
    {"layers.$.attention.out_proj.weight", "blk.$.attn_output.weight", kModel, kQ},
    {"layers.$.ffn_norm.weight", "blk.$.ffn_norm.weight", kModel},
    {"layers.$.feed_forward.w12.weight", "blk.$.ffn_up.weight", kTwoFfn, kModel},
    {"layers.$.feed_forward.w3.weight", "blk.$.ffn_down.weight", kModel, kFfn},
};

constexpr TensorRule kRecurrentGemmaRules[] = {
    {"embed_tokens.weight", "token_embd.weight", kVocab, kModel},
    {"lm_head.weight", "output.weight", kVocab, kModel, kAsIs, kOutput},
    {"final_norm.weight", "output_norm.weight", kModel, kNone, kNorm},
    {"layers.$.temporal_pre_norm.weight", "blk.$.attn_norm.weight", kModel, kNone, kNorm},
    {"layers.$.channel_pre_norm.weight", "blk.$.ffn_norm.weight", kModel, kNone, kNorm},
    {"layers.$.temporal_block.q_proj.weight", "blk.$.attn_q.weight", kQ, kModel, kAsIs, kRequired, kAttending},
    {"layers.$.temporal_block.k_proj.weight", "blk.$.attn_k.weight", kKv, kModel, kAsIs, kRequired, kAttending},
    {"layers.$.temporal_block.v_proj.weight", "blk.$.attn_v.weight", kKv, kModel, kAsIs, kRequired, kAttending},
    {"layers.$.temporal_block.o_proj.weight", "blk.$.attn_output.weight", kModel, kQ, kAsIs, kRequired, kAttending},
    {"layers.$.temporal_block.o_proj.bias", "blk.$.attn_output.bias", kModel, kNone, kAsIs, kRequired, kAttending},
    {"layers.$.temporal_block.linear_y.weight", "blk.$.rglru_y.weight", TensorSize::kRecurrent, kModel, kAsIs,
     kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.linear_y.bias", "blk.$.rglru_y.bias", TensorSize::kRecurrent, kNone, kAsIs, kRequired,
     Layers::kRecurrent},
    {"layers.$.temporal_block.linear_x.weight", "blk.$.rglru_x.weight", TensorSize::kRecurrent, kModel, kAsIs,
     kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.linear_x.bias", "blk.$.rglru_x.bias", TensorSize::kRecurrent, kNone, kAsIs, kRequired,
     Layers::kRecurrent},
    {"layers.$.temporal_block.linear_out.weight", "blk.$.rglru_out.weight", kModel, TensorSize::kRecurrent, kAsIs,
     kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.linear_out.bias", "blk.$.rglru_out.bias", kModel, kNone, kAsIs, kRequired,
     Layers::kRecurrent},
    {"layers.$.temporal_block.conv_1d.weight", "blk.$.rglru_conv.weight", TensorSize::kRecurrent, kTaps, kFlatAcross,
     kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.conv_1d.bias", "blk.$.rglru_conv.bias", TensorSize::kRecurrent, kNone, kAsIs, kRequired,
     Layers::kRecurrent},
    {"layers.$.temporal_block.rg_lru.recurrent_param", "blk.$.rglru_param", TensorSize::kRecurrent, kNone, kAsIs,
     kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.rg_lru.input_gate_weight", "blk.$.rglru_input_gate.weight", TensorSize::kRecurrent,
     kRecurrentHead, kAsIs, kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.rg_lru.input_gate_bias", "blk.$.rglru_input_gate.bias", TensorSize::kRecurrent, kNone,
     kAsIs, kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.rg_lru.recurrent_gate_weight", "blk.$.rglru_recurrent_gate.weight",
     TensorSize::kRecurrent, kRecurrentHead, kAsIs, kRequired, Layers::kRecurrent},
    {"layers.$.temporal_block.rg_lru.recurrent_gate_bias", "blk.$.rglru_recurrent_gate.bias", TensorSize::kRecurrent,
     kNone, kAsIs, kRequired, Layers::kRecurrent},
    {"layers.$.mlp_block.gate_proj.weight", "blk.$.ffn_gate.weight", kFfn, kModel},
    {"layers.$.mlp_block.gate_proj.bias", "blk.$.ffn_gate.bias", kFfn},
    {"layers.$.mlp_block.up_proj.weight", "blk.$.ffn_up.weight", kFfn, kModel},
    {"layers.$.mlp_block.up_proj.bias", "blk.$.ffn_up.bias", kFfn},
    {"layers.$.mlp_block.down_proj.weight", "blk.$.ffn_down.weight", kModel, kFfn},
    {"layers.$.mlp_block.down_proj.bias", "blk.$.ffn_down.bias", kModel},
};

}  // namespace

constinit const TensorRules kEmbeddings = kEmbeddingRules;
constinit const TensorRules kEmbeddingsWithoutNorm = TensorRules(kEmbeddingRules).first(2);
constinit const TensorRules kNorms = kNormRules;
constinit const TensorRules kLayerNorms = kLayerNormRules;
constinit const TensorRules kOneLayerNorm = TensorRules(kLayerNormRules).first(3);
constinit const TensorRules kNormsAfter = kNormAfterRules;
constinit const TensorRules kNormsAround = kNormAroundRules;
constinit const TensorRules kAttention = kAttentionRules;
constinit const TensorRules kAttentionMatrices = TensorRules(kAttentionRules).first(kAttentionMatrixRules);
constinit const TensorRules kQkvBiases = kRequiredQkvBiasRules;
constinit const TensorRules kLatentAttention = kLatentAttentionRules;
constinit const TensorRules kHeadNorms = kHeadNormRules;
constinit const TensorRules kOwnHeadNorms = kOwnHeadNormRules;
constinit const TensorRules kAllHeadNorms = kAllHeadNormRules;
constinit const TensorRules kGatedFfn = kGatedFfnRules;
constinit const TensorRules kPlainFfn = kPlainFfnRules;
constinit const TensorRules kBloom = kBloomRules;
constinit const TensorRules kGpt2 = kGpt2Rules;
constinit const TensorRules kGptNeoX = kGptNeoXRules;
constinit const TensorRules kOpenElm = kOpenElmRules;
constinit const TensorRules kPhi = kPhiRules;
constinit const TensorRules kPhi3 = kPhi3Rules;
constinit const TensorRules kQwen = kQwenRules;
constinit const TensorRules kSharedFfn = kSharedFfnRules;
constinit const TensorRules kShortcuts = kShortcutRules;
constinit const TensorRules kSeriesFfn = kSeriesRules;
constinit const TensorRules kOpt = kOptRules;
constinit const TensorRules kOptNormsBefore = kOptNormBeforeRules;
constinit const TensorRules kOptNormsBehind = kOptNormBehindRules;
constinit const TensorRules kOptProjections = kOptProjectionRules;
constinit const TensorRules kOpenLm = kOpenLmRules;
constinit const TensorRules kRecurrentGemma = kRecurrentGemmaRules;

}  // namespace rules
}  // namespace linnet::worker
