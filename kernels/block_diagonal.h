// Matrices that are zero but for blocks on the diagonal: each head of x times a small matrix of its own. Latent
// attention multiplies its heads by parts of a projection, RG-LRU has such gates.
//
// A row of y depends only on its row of x: inputs are added in order, whatever is computed together.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/matrix.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

// y[row][block] = x[row][block] · W[block] + bias[block].
struct BlockProduct {
  const float* x = nullptr;  // [rows, blocks, inputs] with these strides, in elements
  int64_t x_stride = 0, x_block_stride = 0;
  float* y = nullptr;  // [rows, blocks, outputs]
  int64_t y_stride = 0, y_block_stride = 0;
  const float* bias = nullptr;  // [blocks, outputs]; may be null
  int64_t rows = 0;
};

class BlockDiagonal {
 public:
  // values: [blocks, inputs, outputs]. Kept in f16, in f32 for reference precision. REQUIRES: so many values.
  BlockDiagonal(int blocks, int64_t inputs, int64_t outputs, std::span<const float> values, Precision precision);

  int blocks() const { return blocks_; }
  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }
  // Resident, and what that will be.
  int64_t bytes() const {
    return Bytes(blocks_ * inputs_ * outputs_, half_.empty() ? Precision::kReference : Precision::kFast);
  }
  static int64_t Bytes(int64_t elements, Precision precision) {
    return elements * (precision == Precision::kReference ? 4 : 2);
  }

  void Multiply(const BlockProduct& product, ThreadPool& pool) const;

 private:
  const int blocks_;
  const int64_t inputs_, outputs_;
  std::vector<uint16_t> half_;  // f16; empty in reference precision
  std::vector<float> full_;     // the other way round
};

}  // namespace linnet::kernels
