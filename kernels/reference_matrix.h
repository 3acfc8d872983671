// A matrix in reference precision: weights of any format dequantized to f32, multiplied by oneDNN, or by plain loops
// under LINNET_ISA=scalar.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"

namespace linnet::kernels {

// REQUIRES: a valid shape.
absl::StatusOr<std::unique_ptr<Matrix>> CreateReferenceMatrix(const Matrix::Source& source, ThreadPool& pool);

}  // namespace linnet::kernels
