// What Llama-like families share: pre-norm RMS, grouped-query attention with RoPE, gated SiLU; GGUF's names for the
// tensors and keys of these.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"
#include "worker/model/family.h"

namespace linnet::worker {

std::span<const TensorNaming> LlamaLikeTensors();

struct LlamaLikeOptions {
  bool interleaved_rope = false;
  bool qkv_bias = false;  // required; where false, biases are taken if the file has them
};
// Validates everything that sizes are computed from.
absl::StatusOr<ModelDescription> DescribeLlamaLike(const GgufFile& file, std::string_view architecture,
                                                   const LlamaLikeOptions& options);

}  // namespace linnet::worker
