// Matrix products y = x · Wᵀ with weights in any stored format.
//
// A Matrix owns its weights in the layout that its kernel wants: group-quantized formats are packed for the SIMD
// kernels of the active ISA (same size as stored), f16/f32/bf16 go to oneDNN, reordered once. In reference precision
// every format is dequantized to f32 and multiplied by oneDNN in f32 (by plain loops under LINNET_ISA=scalar).
//
// For group-quantized formats in fast precision a row of y depends only on its row of x: not on `rows`, nor on the
// number of threads (integer dot products per group, groups added in a fixed order).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

enum class Precision {
  kFast,       // activations quantized to 8 bits per group of 32 where the weights are group-quantized
  kReference,  // dequantized weights, f32 throughout
};

// Rows of activations on their way into one or several products. The forms that products need (8-bit groups with scales
// and sums) are made once and shared by all products of the same rows.
class Activations {
 public:
  Activations();
  ~Activations();
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;

  // x: [rows, cols] f32, borrowed until the next Set. Keeps its buffers from call to call.
  void Set(const float* x, int64_t rows, int64_t cols);
  const float* data() const { return x_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  struct Forms;  // kernels-internal
  Forms& forms() { return *forms_; }

 private:
  const float* x_ = nullptr;
  int64_t rows_ = 0, cols_ = 0;
  const std::unique_ptr<Forms> forms_;
};

class Matrix {
 public:
  struct Source {
    DType type = DType::kF32;
    int64_t rows = 0;                 // N: outputs
    int64_t cols = 0;                 // K: inputs, a multiple of the type's block
    const std::byte* data = nullptr;  // [rows, cols] row by row as GGUF stores it; not needed after Create
  };
  // INVALID_ARGUMENT: a shape that the format does not allow.
  static absl::StatusOr<std::unique_ptr<Matrix>> Create(const Source& source, Precision precision, ThreadPool& pool);
  virtual ~Matrix() = default;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  DType type() const { return type_; }
  // What it keeps resident.
  virtual int64_t bytes() const = 0;

  // out: [cols] f32, row `row` dequantized (embedding lookup).
  virtual void DequantizeRow(int64_t row, float* out) const = 0;

 protected:
  Matrix(DType type, int64_t rows, int64_t cols) : type_(type), rows_(rows), cols_(cols) {}

 private:
  friend void Multiply(std::span<const struct Product> products, Activations& x, ThreadPool& pool);
  // Makes the forms of x that MultiplySlice reads.
  virtual void PrepareForms(Activations& x, ThreadPool& pool) const = 0;
  // Outputs [begin, end) of `product` for all rows of x, bias and residual included, on one thread. `stride`:
  // product's, or its default.
  virtual void MultiplySlice(const struct Product& product, int64_t stride, Activations& x, int64_t begin,
                             int64_t end) const = 0;
  // How many outputs a slice should have, so that `threads` have enough of them to share.
  virtual int64_t SliceRows(int64_t x_rows, int threads) const = 0;

  const DType type_;
  const int64_t rows_, cols_;
};

// One product of a group that shares its input.
struct Product {
  const Matrix* weights = nullptr;
  float* y = nullptr;               // [x.rows, weights->rows] f32
  int64_t y_stride = 0;             // elements from row to row; 0: weights->rows
  const float* bias = nullptr;      // [weights->rows], added; may be null
  const float* residual = nullptr;  // [x.rows, weights->rows], added, same stride as y; may be null and may be y itself
};
// All products of the group in one parallel region.
void Multiply(std::span<const Product> products, Activations& x, ThreadPool& pool);

}  // namespace linnet::kernels
