// What a model's matrices see when it reads a text: the mean square of each input column. A quantizer spends its
// precision on the columns that count (an error e in a weight of column j changes the output by e * x_j).
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/quantize_file.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::cli {

struct Calibration {
  Importances importances;  // of every matrix that the decoder multiplies by
  int64_t tokens = 0;
};

struct CalibrationOptions {
  std::string text;
  std::function<void(uint64_t done_tokens, uint64_t total_tokens)> progress;
  std::stop_token stop;
};

// Loads the model (its whole weights in memory) and runs it over the text, in sequences of at most 512 tokens and over
// at most 64 Ki tokens. INVALID_ARGUMENT where the text has less than 16 tokens, or the model is not one that Linnet
// runs; CANCELLED.
absl::StatusOr<Calibration> Calibrate(const worker::GgufFile& file, const CalibrationOptions& options,
                                      kernels::ThreadPool& pool);

}  // namespace linnet::cli
