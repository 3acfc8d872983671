// A matrix of f16, bf16 or f32 weights in fast precision: packed as stored, and the SIMD kernels of the ISA that was
// active at Create.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"

namespace linnet::kernels {

// As the functions of Matrix; REQUIRES: f16, bf16 or f32, a valid shape.
int64_t DenseMatrixBytes(DType type, int64_t rows, int64_t cols);
absl::StatusOr<std::unique_ptr<Matrix>> CreateDenseMatrix(const Matrix::Source& source, ThreadPool& pool,
                                                          PackedPlace place);
absl::StatusOr<std::unique_ptr<Matrix>> PackedDenseMatrix(DType type, int64_t rows, int64_t cols, PackedPlace place);

}  // namespace linnet::kernels
