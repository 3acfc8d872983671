// Runs a model over a text and shows an observer what each of its matrices is multiplied with: what calibration of a
// quantizer and scores for pruning are made from.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/weights.h"

namespace linnet::cli {

class MatrixObserver {
 public:
  virtual ~MatrixObserver() = default;
  // x: [rows, matrix.cols] f32, the inputs of one product: the next tokens of the sequence that runs, in order.
  virtual void OnRows(const worker::TensorBinding& matrix, const float* x, int64_t rows) = 0;
  // No more rows of this sequence, of any matrix.
  virtual void OnSequenceEnd() {}
};

struct ObservedText {
  std::string text;
  std::function<void(uint64_t done_tokens, uint64_t total_tokens)> progress;
  std::stop_token stop;
};

// "text.txt (1921 tokens, sha256:...)": what is written down of a text that a model ran over.
std::string DescribeText(const std::string& path, const std::string& text, int64_t tokens);

// Loads the model (its whole weights in memory) and runs it over the text, in sequences of at most 512 tokens and over
// at most 64 Ki tokens; returns how many it were. Observers are called on this thread. INVALID_ARGUMENT where the text
// has less than 16 tokens, or the model is not one that Linnet runs; CANCELLED.
absl::StatusOr<int64_t> RunObserved(const worker::GgufFile& file, const ObservedText& text, MatrixObserver& observer,
                                    kernels::ThreadPool& pool);

}  // namespace linnet::cli
