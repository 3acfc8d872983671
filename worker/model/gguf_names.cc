#include "worker/model/gguf_names.h"

#include <string_view>

namespace linnet::worker {
namespace {

struct Naming {
  TensorRole role;
  std::string_view name;   // $ stands for the layer
  std::string_view fused;  // the same
};

constexpr Naming kNames[] = {
    {TensorRole::kTokenEmbedding, "token_embd.weight", ""},
    {TensorRole::kEmbeddingIn, "token_embd_proj.weight", ""},
    {TensorRole::kEmbeddingOut, "output_proj.weight", ""},
    {TensorRole::kPositions, "position_embd.weight", ""},
    {TensorRole::kEmbeddingNorm, "token_embd_norm.weight", ""},
    {TensorRole::kEmbeddingNormBias, "token_embd_norm.bias", ""},
    {TensorRole::kFinalNorm, "output_norm.weight", ""},
    {TensorRole::kFinalNormBias, "output_norm.bias", ""},
    {TensorRole::kOutput, "output.weight", ""},
    {TensorRole::kOutputBias, "output.bias", ""},
    {TensorRole::kRopeFactors, "rope_freqs.weight", ""},
    {TensorRole::kRopeShortFactors, "rope_factors_short.weight", ""},
    {TensorRole::kRopeLongFactors, "rope_factors_long.weight", ""},
    {TensorRole::kAttentionNorm, "blk.$.attn_norm.weight", ""},
    {TensorRole::kAttentionNormBias, "blk.$.attn_norm.bias", ""},
    {TensorRole::kQ, "blk.$.attn_q.weight", "blk.$.attn_qkv.weight"},
    {TensorRole::kK, "blk.$.attn_k.weight", "blk.$.attn_qkv.weight"},
    {TensorRole::kV, "blk.$.attn_v.weight", "blk.$.attn_qkv.weight"},
    {TensorRole::kQBias, "blk.$.attn_q.bias", "blk.$.attn_qkv.bias"},
    {TensorRole::kKBias, "blk.$.attn_k.bias", "blk.$.attn_qkv.bias"},
    {TensorRole::kVBias, "blk.$.attn_v.bias", "blk.$.attn_qkv.bias"},
    {TensorRole::kQNorm, "blk.$.attn_q_norm.weight", ""},
    {TensorRole::kKNorm, "blk.$.attn_k_norm.weight", ""},
    {TensorRole::kQDown, "blk.$.attn_q_a.weight", ""},
    {TensorRole::kQDownNorm, "blk.$.attn_q_a_norm.weight", ""},
    {TensorRole::kQUp, "blk.$.attn_q_b.weight", ""},
    {TensorRole::kKvDown, "blk.$.attn_kv_a_mqa.weight", ""},
    {TensorRole::kKvDownNorm, "blk.$.attn_kv_a_norm.weight", ""},
    {TensorRole::kKvUp, "blk.$.attn_kv_b.weight", ""},
    {TensorRole::kAttentionOut, "blk.$.attn_output.weight", ""},
    {TensorRole::kAttentionOutBias, "blk.$.attn_output.bias", ""},
    {TensorRole::kRecurrentX, "blk.$.rglru_x.weight", ""},
    {TensorRole::kRecurrentXBias, "blk.$.rglru_x.bias", ""},
    {TensorRole::kRecurrentY, "blk.$.rglru_y.weight", ""},
    {TensorRole::kRecurrentYBias, "blk.$.rglru_y.bias", ""},
    {TensorRole::kConvolution, "blk.$.rglru_conv.weight", ""},
    {TensorRole::kConvolutionBias, "blk.$.rglru_conv.bias", ""},
    {TensorRole::kInputGate, "blk.$.rglru_input_gate.weight", ""},
    {TensorRole::kInputGateBias, "blk.$.rglru_input_gate.bias", ""},
    {TensorRole::kRecurrenceGate, "blk.$.rglru_recurrent_gate.weight", ""},
    {TensorRole::kRecurrenceGateBias, "blk.$.rglru_recurrent_gate.bias", ""},
    {TensorRole::kRecurrenceParameter, "blk.$.rglru_param", ""},
    {TensorRole::kRecurrentOut, "blk.$.rglru_out.weight", ""},
    {TensorRole::kRecurrentOutBias, "blk.$.rglru_out.bias", ""},
    {TensorRole::kShortcutDown, "blk.$.shortcut_down.weight", ""},
    {TensorRole::kShortcutUp, "blk.$.shortcut_up.weight", ""},
    {TensorRole::kAttentionPostNorm, "blk.$.post_attention_norm.weight", ""},
    {TensorRole::kAttentionSumNorm, "blk.$.attn_output_norm.weight", ""},
    {TensorRole::kAttentionSumNormBias, "blk.$.attn_output_norm.bias", ""},
    {TensorRole::kFfnNorm, "blk.$.ffn_norm.weight", ""},
    {TensorRole::kFfnNormBias, "blk.$.ffn_norm.bias", ""},
    {TensorRole::kFfnGate, "blk.$.ffn_gate.weight", "blk.$.ffn_up.weight"},
    {TensorRole::kFfnUp, "blk.$.ffn_up.weight", ""},
    {TensorRole::kFfnDown, "blk.$.ffn_down.weight", ""},
    {TensorRole::kFfnGateBias, "blk.$.ffn_gate.bias", "blk.$.ffn_up.bias"},
    {TensorRole::kFfnUpBias, "blk.$.ffn_up.bias", ""},
    {TensorRole::kFfnDownBias, "blk.$.ffn_down.bias", ""},
    {TensorRole::kFfnSeriesScale, "blk.$.ffn_series.scale", ""},
    {TensorRole::kFfnSeriesBias, "blk.$.ffn_series.bias", ""},
    {TensorRole::kFfnPostNorm, "blk.$.post_ffw_norm.weight", ""},
    {TensorRole::kFfnSumNorm, "blk.$.layer_output_norm.weight", ""},
    {TensorRole::kFfnSumNormBias, "blk.$.layer_output_norm.bias", ""},
};

std::string OfLayer(std::string_view pattern, int layer) {
  std::string name(pattern);
  if (const size_t at = name.find('$'); at != std::string::npos) name.replace(at, 1, std::to_string(layer));
  return name;
}

const Naming& NamingOf(TensorRole role) {
  const Naming* naming = kNames;
  while (naming->role != role) ++naming;
  return *naming;
}

}  // namespace

std::string GgufTensorName(TensorRole role, int layer) { return OfLayer(NamingOf(role).name, layer); }
std::string GgufFusedName(TensorRole role, int layer) { return OfLayer(NamingOf(role).fused, layer); }

}  // namespace linnet::worker
