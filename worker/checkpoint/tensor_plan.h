// Which tensor of a checkpoint becomes which of the GGUF file, decided from headers alone.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/hf_family.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

struct PlannedTensor {
  GgufTensorPlan target;
  std::vector<CheckpointTensor> sources;      // mostly one; none of a generated tensor
  std::vector<float> generated;               // its values
  TensorChange change = TensorChange::kAsIs;  // what has no effect in this family is kAsIs
  int64_t heads = 1;                          // within which rows are reordered
};

struct TensorPlan {
  std::vector<PlannedTensor> tensors;
  bool shared_ffn = false;  // one for all blocks, kept as the first block's
  std::vector<std::string> notes;
};

// INVALID_ARGUMENT INVALID_MODEL_FILE with every tensor that is missing, unexpected, of a shape that config.json
// contradicts, or of a type that no weights have. Reads data only to tell whether an output matrix is the embeddings
// again. `checkpoint` must outlive the plan.
absl::StatusOr<TensorPlan> PlanTensors(const Checkpoint& checkpoint, const HfDescription& description);

}  // namespace linnet::worker
