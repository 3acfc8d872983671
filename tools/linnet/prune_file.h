// From one GGUF file to a smaller one, of whose FFNs and attention some neurons and heads are left.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/prune_plan.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"

namespace linnet::cli {

struct PruneJob {
  std::span<const BlockCut> cuts;  // by stored block
  std::string method;              // for the new file's metadata: linnet.prune.*
  std::string source_name;
  std::string calibration;                                                  // "": none
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  // of the source; calling thread
  std::stop_token stop;
};

struct PruneReport {
  uint64_t file_bytes = 0;
  uint64_t parameters = 0;
  // Of the tensors that lost something: those whose stored numbers were taken over as they are, and those of which
  // columns inside of quantized blocks went, so that they were quantized again.
  int copied_tensors = 0;
  int requantized_tensors = 0;
};

// Rows of a quantized matrix are copied as they are stored, and so are columns where whole blocks are kept; other
// columns are dequantized and quantized again in the same type, or in the next larger one whose blocks divide what is
// left. INVALID_ARGUMENT INVALID_MODEL_FILE where the source is not a whole model; CANCELLED; RESOURCE_EXHAUSTED
// OUT_OF_DISK. Only success leaves a file at `path`.
absl::StatusOr<PruneReport> PruneFile(const worker::GgufFile& source, const worker::ModelDescription& model,
                                      const std::string& path, const PruneJob& job, kernels::ThreadPool& pool);

}  // namespace linnet::cli
