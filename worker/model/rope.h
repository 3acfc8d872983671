// Rotary frequencies of a layer from its description.
#pragma once

#include "kernels/rows.h"
#include "worker/model/description.h"

namespace linnet::worker {

// Computed in f32 step by step as Transformers does it, so that angles at far positions agree with it. `length`: of the
// sequence, in tokens, where the description depends on it.
kernels::RopeTable MakeRopeTable(const RopeDescription& rope, int64_t length = 0);

// Llama 3's divisors of the frequencies (kLlama3) as the tensor rope_freqs.weight holds them: [rotary_dim/2].
// Frequencies with a wavelength above original/low_freq_factor are divided by `factor`, those below
// original/high_freq_factor are kept, and those between are interpolated.
std::vector<float> Llama3RopeFactors(const RopeDescription& rope);

}  // namespace linnet::worker
