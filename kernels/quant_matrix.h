// A group-quantized matrix in fast precision: packed weights and the SIMD kernels of the ISA that was active at Create.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"

namespace linnet::kernels {

// REQUIRES: IsGroupQuantized(source.type), a valid shape.
absl::StatusOr<std::unique_ptr<Matrix>> CreateQuantMatrix(const Matrix::Source& source, ThreadPool& pool);

}  // namespace linnet::kernels
