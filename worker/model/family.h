// The families of models that Linnet knows. A family is data and one function: how a GGUF file of its architecture
// names its tensors, and how its metadata describe the model. Adding one adds a family_*.cc and a row in family.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"

namespace linnet::worker {

// What a tensor is to the decoder.
enum class TensorRole {
  kTokenEmbedding,
  kFinalNorm,
  kOutput,
  kRopeFactors,
  // One for each layer:
  kAttentionNorm,
  kQ,
  kK,
  kV,
  kQBias,
  kKBias,
  kVBias,
  kAttentionOut,
  kAttentionOutBias,
  kFfnNorm,
  kFfnGate,
  kFfnUp,
  kFfnDown,
};

struct TensorNaming {
  TensorRole role;
  std::string_view pattern;  // "blk.$.attn_q.weight", where $ stands for the layer
};

struct Family {
  std::string_view name;  // general.architecture
  std::span<const TensorNaming> (*tensors)();
  // INVALID_ARGUMENT INVALID_MODEL_FILE with every key that is missing, out of range or not supported.
  absl::StatusOr<ModelDescription> (*describe)(const GgufFile& file);

  // The file's name of a tensor; "" where the family has none in that role.
  std::string TensorName(TensorRole role, int layer) const;
};

// By general.architecture; nullptr: not supported.
const Family* FindFamily(std::string_view architecture);
std::vector<std::string> FamilyNames();

// family_llama.cc, family_qwen2.cc
extern const Family kLlamaFamily;
extern const Family kQwen2Family;

}  // namespace linnet::worker
