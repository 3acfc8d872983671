// Rotary frequencies of a layer from its description.
#pragma once

#include "kernels/rows.h"
#include "worker/model/description.h"

namespace linnet::worker {

// Computed in f32 step by step as Transformers does it, so that angles at far positions agree with it. `length`: of the
// sequence, in tokens, where the description depends on it.
kernels::RopeTable MakeRopeTable(const RopeDescription& rope, int64_t length = 0);

}  // namespace linnet::worker
