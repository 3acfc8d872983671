// Chooses the next token from logits. Order of the filters: temperature, top-k, top-p, min-p, as llama.cpp's and vLLM's
// documentation describe them; random numbers come from a counter-based generator keyed by (seed, position), so that
// the same request replays to the same tokens whatever else runs.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/best_outputs.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy
  uint32_t top_k = 0;        // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  uint64_t seed = 0;
};

// INVALID_ARGUMENT INVALID_FIELD, every bad field named ("sampling.top_p").
absl::Status ValidateSampling(const SamplingParams& params);

using ScoredToken = kernels::ScoredOutput;  // a token's logit and id

// How many of the best tokens it can be one of, where these are few; 0: any, and SampleToken wants all logits.
int32_t TokensToChooseFrom(const SamplingParams& params);

// `position`: that of the token to be chosen. logits: [vocab] f32, changed; or the TokensToChooseFrom best, in order,
// or all that there are. kNoToken: the best logit is no finite number.
inline constexpr TokenId kNoToken = -1;
TokenId SampleToken(std::span<float> logits, const SamplingParams& params, int64_t position);
TokenId SampleToken(std::span<const ScoredToken> best, const SamplingParams& params, int64_t position);

}  // namespace linnet::worker
