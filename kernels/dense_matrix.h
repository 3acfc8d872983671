// A matrix of plain floating-point weights: f32, f16 and bf16 as stored in fast precision, every format dequantized to
// f32 in reference precision. Products are oneDNN's, or plain loops under LINNET_ISA=scalar.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"

namespace linnet::kernels {

// REQUIRES: a valid shape; not group-quantized in fast precision.
absl::StatusOr<std::unique_ptr<Matrix>> CreateDenseMatrix(const Matrix::Source& source, Precision precision,
                                                          ThreadPool& pool);

}  // namespace linnet::kernels
