// The output layer's product where only the best outputs of some rows are wanted: greedy decoding takes one, top-k
// sampling k of a vocabulary of a hundred thousand. A thread looks through the outputs of each slice while they are in
// its cache, and keeps the best; the rest is never written anywhere.
//
//   BestOutputs output;  // kept from step to step, with its memory
//   output.Multiply({.weights = &weights}, x, wanted, pool);
//   output.Of(0)[0].index  // of the largest output of row 0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/matrix.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

struct ScoredOutput {
  float value = 0;
  int32_t index = 0;

  // The order: larger first, of equals the one with the lower index.
  bool Before(const ScoredOutput& other) const {
    return value != other.value ? value > other.value : index < other.index;
  }
  bool operator==(const ScoredOutput&) const = default;
};

class BestOutputs {
 public:
  // The product's bias and soft cap count, nothing else does. wanted[r]: how many of row r's outputs (more than a few
  // hundred are slow); 0: the whole row, which goes to product.y, one such row after the other, weights->rows() each.
  // One caller at a time.
  void Multiply(const Product& product, Activations& x, std::span<const int32_t> wanted, ThreadPool& pool);

  // Of the last Multiply: the best of row r, in order. Fewer than wanted where the row has no more, NaNs not counted.
  std::span<const ScoredOutput> Of(int64_t row) const;

 private:
  // One thread's.
  struct Scratch {
    std::vector<float> y;            // [rows, outputs of a slice]
    std::vector<ScoredOutput> best;  // of row r from first_[r] on
    std::vector<int32_t> count;      // [rows]
  };

  std::vector<int64_t> first_;  // [rows + 1]
  std::vector<Scratch> scratch_;
};

}  // namespace linnet::kernels
