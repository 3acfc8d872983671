// Qwen2, Qwen2.5 and Qwen1.5: Llama's decoder with biases on Q, K and V, and RoPE over the halves of a head.
#include "worker/model/family.h"
#include "worker/model/llama_like.h"

namespace linnet::worker {
namespace {

absl::StatusOr<ModelDescription> Describe(const GgufFile& file) {
  return DescribeLlamaLike(file, "qwen2", {.qkv_bias = true});
}

}  // namespace

const Family kQwen2Family = {.name = "qwen2", .tensors = LlamaLikeTensors, .describe = Describe};

}  // namespace linnet::worker
