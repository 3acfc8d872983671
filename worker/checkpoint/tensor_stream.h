// Moves a tensor's data from a checkpoint into a GGUF file, a few MiB at a time.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "worker/checkpoint/tensor_plan.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

// Appends all of it. `written`: called with the bytes of each piece; a false answer ends it, CANCELLED.
// INVALID_ARGUMENT INVALID_MODEL_FILE names the tensor where a weight is no finite number.
absl::Status StreamTensor(const PlannedTensor& tensor, GgufWriter& writer,
                          const std::function<bool(uint64_t bytes)>& written);

}  // namespace linnet::worker
