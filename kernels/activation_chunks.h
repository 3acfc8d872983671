// Activations in the form that products take whose weights share scales: rows of 8-bit integers in chunks of 64 inputs,
// with a scale for each so many chunks. The integer sum of all products between two scales is then one number.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/isa.h"
#include "kernels/quant_pack.h"

namespace linnet::kernels {

// x ~ scale * q, |q| <= 127, scale = max|x| / 127 over the chunks that share it; kNoScale and zeros where an input of
// theirs is infinite or NaN. Rows come in blocks of `block_rows`.
struct ActivationChunks {
  int64_t block_rows = 0;  // kActivationBlock, or all rows where they are fewer
  int64_t chunks = 0;      // per row; what the last one has beyond the row is zero
  int64_t chunks_per_scale = 1;
  int64_t scales = 0;               // per row
  int8_t* q = nullptr;              // [blocks][chunks][block_rows][64]
  float* scale = nullptr;           // [blocks][scales][block_rows]
  int32_t* negative_sum = nullptr;  // the same: -sum(q), which a weight's offset is multiplied by

  // Where a row's first chunk, or first scale, is; the next one of the row is block_rows on.
  int8_t* Row(int64_t row) const { return q + At(row, chunks) * kChunk; }
  int64_t ScaleAt(int64_t row) const { return At(row, scales); }

 private:
  int64_t At(int64_t row, int64_t per_row) const { return row / block_rows * block_rows * per_row + row % block_rows; }
};

// Makes one row of them. x: [cols]. Every ISA gives the same result.
using QuantizeChunksFn = void (*)(const float* x, int64_t cols, const ActivationChunks& out, int64_t row);
QuantizeChunksFn QuantizeChunksFor(Isa isa);

// Memory for them, kept from use to use.
class ActivationChunkStorage {
 public:
  // `shape`: all but the pointers. Rows up to the next whole block may be read.
  ActivationChunks For(ActivationChunks shape, int64_t rows);

 private:
  std::vector<int8_t> q_;
  std::vector<float> scale_;
  std::vector<int32_t> negative_sum_;
};

}  // namespace linnet::kernels
