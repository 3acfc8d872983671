// Llama and what is built like it (TinyLlama, SmolLM, SmolLM2, MobileLLaMA, danube3, Fox-1, Llama 3.2, ...).
#include "worker/model/family.h"
#include "worker/model/llama_like.h"

namespace linnet::worker {
namespace {

// GGUF stores this architecture's Q and K with each head's rows reordered, so that RoPE turns neighbouring pairs.
absl::StatusOr<ModelDescription> Describe(const GgufFile& file) {
  return DescribeLlamaLike(file, "llama", {.interleaved_rope = true});
}

}  // namespace

const Family kLlamaFamily = {.name = "llama", .tensors = LlamaLikeTensors, .describe = Describe};

}  // namespace linnet::worker
