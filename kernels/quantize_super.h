// The super-blocks of Q4_K, Q5_K and Q6_K: 256 weights whose groups have small integer scales of one 16-bit float.
// Internal to the quantizers.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace linnet::kernels::quantize_internal {

inline constexpr int kSuper = 256;

// x, w: [256], w > 0. block: the type's block_bytes, zeroed. REQUIRES: type is Q4_K, Q5_K or Q6_K.
void QuantizeSuperBlock(DType type, const float* x, const float* w, uint8_t* block);

}  // namespace linnet::kernels::quantize_internal
