// What a tensor is to the decoder.
#pragma once

#include <cstdint>

namespace linnet::worker {

enum class TensorRole : uint8_t {
  kTokenEmbedding,
  kEmbeddingIn,
  kEmbeddingOut,
  kPositions,
  kEmbeddingNorm,
  kEmbeddingNormBias,
  kFinalNorm,
  kFinalNormBias,
  kOutput,
  kOutputBias,
  kRopeFactors,
  kRopeShortFactors,
  kRopeLongFactors,
  // One for each layer:
  kAttentionNorm,
  kAttentionNormBias,
  kQ,
  kK,
  kV,
  kQBias,
  kKBias,
  kVBias,
  kQNorm,
  kKNorm,
  kQDown,  // of latent attention, as the next five
  kQDownNorm,
  kQUp,
  kKvDown,
  kKvDownNorm,
  kKvUp,
  kAttentionOut,
  kAttentionOutBias,
  kRecurrentX,  // of a recurrent layer, as the next twelve
  kRecurrentXBias,
  kRecurrentY,
  kRecurrentYBias,
  kConvolution,
  kConvolutionBias,
  kInputGate,
  kInputGateBias,
  kRecurrenceGate,
  kRecurrenceGateBias,
  kRecurrenceParameter,
  kRecurrentOut,
  kRecurrentOutBias,
  kShortcutDown,
  kShortcutUp,
  kAttentionPostNorm,
  kAttentionSumNorm,
  kAttentionSumNormBias,
  kFfnNorm,
  kFfnNormBias,
  kFfnGate,
  kFfnUp,
  kFfnDown,
  kFfnGateBias,
  kFfnUpBias,
  kFfnDownBias,
  kFfnSeriesScale,
  kFfnSeriesBias,
  kFfnPostNorm,
  kFfnSumNorm,
  kFfnSumNormBias,
};

}  // namespace linnet::worker
