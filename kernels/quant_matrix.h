// A group-quantized matrix in fast precision: packed weights and the SIMD kernels of the ISA that was active at Create.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"

namespace linnet::kernels {

// As the functions of Matrix; REQUIRES: a group-quantized type, a valid shape.
int64_t QuantMatrixBytes(PackedType type, int64_t rows, int64_t cols);
absl::StatusOr<std::unique_ptr<Matrix>> CreateQuantMatrix(const Matrix::Source& source, ThreadPool& pool,
                                                          PackedPlace place);
absl::StatusOr<std::unique_ptr<Matrix>> PackedQuantMatrix(PackedType type, int64_t rows, int64_t cols,
                                                          PackedPlace place);

}  // namespace linnet::kernels
