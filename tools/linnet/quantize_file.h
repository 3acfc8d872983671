// From one GGUF file to another with its weights in a quantization format.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/quantize_plan.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::cli {

// What an error in each column of a matrix counts, by tensor name: [dims[0]], > 0 (kernels::ImportanceFrom).
using Importances = std::map<std::string, std::vector<float>, std::less<>>;

struct QuantizeJob {
  const QuantizeFormat* format = nullptr;
  bool allow_requantize = false;
  std::string source_name;  // for the new file's metadata
  const Importances* importances = nullptr;
  std::string calibration;                                                  // what they come from, for the metadata
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  // of the source; calling thread
  std::stop_token stop;
};

struct QuantizeReport {
  uint64_t file_bytes = 0;
  std::map<std::string, uint64_t> tensor_types;  // elements of each
  // Root of the squared error over the squared weights, of all that changed its type.
  double relative_error = 0;
};

// FAILED_PRECONDITION where the source is quantized already and that is not allowed; INVALID_ARGUMENT
// INVALID_MODEL_FILE where it is not a whole model.
absl::Status CheckQuantizable(const worker::GgufFile& source, bool allow_requantize);

// The source's metadata, with what they say of types as the new file's. `types`: of its tensors (PlanTypes).
worker::GgufMetadata QuantizedMetadata(const worker::GgufFile& source, const QuantizeFormat& format,
                                       const std::vector<kernels::DType>& types);

// Checks that first; INVALID_ARGUMENT INVALID_MODEL_FILE naming the tensor where a weight is no finite number or does
// not fit the format; CANCELLED; RESOURCE_EXHAUSTED OUT_OF_DISK. Only success leaves a file at `path`. Memory: a few
// MiB per thread.
absl::StatusOr<QuantizeReport> QuantizeFile(const worker::GgufFile& source, const std::string& path,
                                            const QuantizeJob& job, kernels::ThreadPool& pool);

}  // namespace linnet::cli
