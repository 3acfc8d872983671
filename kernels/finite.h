// Whether stored weights are numbers at all: one that is not makes everything that it touches none either.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/dtype.h"

namespace linnet::kernels {

// Of quantized types the scales, which are all that can be infinite or NaN. `data` need not be aligned.
// REQUIRES: elements is a multiple of block_elements.
bool AllFinite(DType type, const std::byte* data, int64_t elements);

// What there is to say where they are not.
absl::Status NotFinite();

}  // namespace linnet::kernels
