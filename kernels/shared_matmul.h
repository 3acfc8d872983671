// The products of packed weights whose groups share scales (packed_type.h), one function for each type and ISA.
//
// The activations have a scale for each so many chunks of 64 inputs. Between two of them the dot product is one exact
// integer, and these are added in order with fused multiply-adds:
//   int8:      y = fma(dot, activation_scale, y), at the end y = y * weight_scale
//   int4-g64:  y = fma(dot, weight_scale * activation_scale, y)
// so every ISA, and every number of rows, gives the same bits.
#pragma once

#include <cstdint>

#include "kernels/isa.h"
#include "kernels/packed_type.h"
#include "kernels/quant_matmul.h"

namespace linnet::kernels {

// Chunks of activations that share a scale (decision 22). A sum stays far below 2^31: 64 * 128 * 127 for int8.
inline constexpr int kInt8ChunksPerScale = 1;
inline constexpr int kInt4G64ChunksPerScale = 1;

// `slice.chunks` is what they take.
struct SharedMatmulTable {
  Isa isa;  // whose table this is
  QuantMatmulFn int8, int4_g64;

  QuantMatmulFn For(PackedType type) const { return type == kInt8 ? int8 : int4_g64; }
};
const SharedMatmulTable& SharedMatmulTableFor(Isa isa);

extern const SharedMatmulTable kScalarSharedMatmul;
#if defined(__x86_64__)
const SharedMatmulTable& AmxSharedMatmulTable();
#elif defined(__aarch64__)
// REQUIRES: not kScalar.
const SharedMatmulTable& NeonSharedMatmulTable(Isa isa);
#endif

}  // namespace linnet::kernels
