// What a model's matrices see when it reads a text: the mean square of each input column. A quantizer spends its
// precision on the columns that count (an error e in a weight of column j changes the output by e * x_j).
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/observed_run.h"
#include "tools/linnet/quantize_file.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::cli {

struct Calibration {
  Importances importances;  // of every matrix that the decoder multiplies by
  int64_t tokens = 0;
};

// What RunObserved says of text, memory and errors holds here.
absl::StatusOr<Calibration> Calibrate(const worker::GgufFile& file, const ObservedText& text,
                                      kernels::ThreadPool& pool);

}  // namespace linnet::cli
