// The products of packed f16, bf16 and f32 weights with f32 activations, one function for each type and ISA.
//
// Each output is one chain of fused multiply-adds over the inputs, in their order:
//   y = 0, then y = fma(x[k], w[k], y) for k = 0, 1, 2, ...
// so every ISA, and every number of rows, gives the same bits.
#pragma once

#include <cstdint>

#include "kernels/activation_panels.h"
#include "kernels/dense_pack.h"
#include "kernels/isa.h"
#include "kernels/matrix.h"

namespace linnet::kernels {

// Output tiles [begin_tile, end_tile) for all rows of x. `out` is where the first tile's first output goes.
struct DenseSlice {
  const uint8_t* packed = nullptr;
  const DenseLayout* layout = nullptr;
  int64_t begin_tile = 0, end_tile = 0;
  ActivationPanels x;
  OutputSlice out;
};
using DenseMatmulFn = void (*)(const DenseSlice& slice);

struct DenseMatmulTable {
  int64_t panel_rows;  // at most, of the panels that the functions take
  DenseMatmulFn f16, bf16, f32;

  DenseMatmulFn For(DType type) const;
};
const DenseMatmulTable& DenseMatmulTableFor(Isa isa);

extern const DenseMatmulTable kScalarDenseMatmul;

}  // namespace linnet::kernels
