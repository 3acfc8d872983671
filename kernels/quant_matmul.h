// The products of packed group-quantized weights with 8-bit activations, one function for each format and ISA.
//
// Integer dot products of a group are exact, and groups are added in order with fused multiply-adds:
//   y = fma(dot, weight_scale * activation_scale, y), then, with mins, y = fma(min, scale * sum(q), y)
// so every ISA, and every number of rows, gives the same bits.
#pragma once

#include <cstdint>

#include "kernels/activation_chunks.h"
#include "kernels/activations.h"
#include "kernels/isa.h"
#include "kernels/quant_pack.h"

namespace linnet::kernels {

// Output tiles [begin_tile, end_tile) for all rows of x. `out` is where the first tile's first output goes.
struct QuantSlice {
  const uint8_t* packed = nullptr;
  const QuantLayout* layout = nullptr;
  int64_t begin_tile = 0, end_tile = 0;
  ActivationBlocks x;
  ActivationChunks chunks;  // instead of x where groups share scales (shared_matmul.h)
  int64_t x_rows = 0;
  OutputSlice out;
};
using QuantMatmulFn = void (*)(const QuantSlice& slice);

struct QuantMatmulTable {
  Isa isa;  // whose table this is
  QuantMatmulFn q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k;

  QuantMatmulFn For(DType type) const;
};
const QuantMatmulTable& QuantMatmulTableFor(Isa isa);

extern const QuantMatmulTable kScalarQuantMatmul;
#if defined(__x86_64__)
const QuantMatmulTable& AmxQuantMatmulTable();
#elif defined(__aarch64__)
// REQUIRES: not kScalar.
const QuantMatmulTable& NeonQuantMatmulTable(Isa isa);
#endif

}  // namespace linnet::kernels
