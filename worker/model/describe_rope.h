// What a GGUF file's keys and tensors say of its RoPE.
#pragma once

#include <cstdint>

#include "worker/model/description.h"
#include "worker/model/gguf_keys.h"

namespace linnet::worker {

// Complains to `keys`. `most_dims`: as many as can rotate.
RopeDescription ReadRope(GgufKeys& keys, int most_dims, bool interleaved, int64_t context_tokens);

}  // namespace linnet::worker
