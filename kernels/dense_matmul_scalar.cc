// The reference for dense_matmul.cc, and what runs under LINNET_ISA=scalar.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dense_matmul.h"

namespace linnet::kernels {
namespace {

void MultiplyScalar(const DenseSlice& slice) {
  const DenseLayout& layout = *slice.layout;
  std::vector<float> w(static_cast<size_t>(layout.cols));
  for (int64_t n = slice.begin_tile * kTileRows; n < std::min(slice.end_tile * kTileRows, layout.rows); ++n) {
    UnpackDenseRow(layout, slice.packed + n / kTileRows * layout.tile_bytes, static_cast<int>(n % kTileRows), w.data());
    for (int64_t r = 0; r < slice.x.rows; ++r) {
      const float* const x = slice.x.At(r, 0);  // panels are single rows
      float y = 0;
      for (int64_t k = 0; k < layout.cols; ++k) y = std::fma(x[k], w[static_cast<size_t>(k)], y);
      slice.out.Store(r, n - slice.begin_tile * kTileRows, y);
    }
  }
}

}  // namespace

constinit const DenseMatmulTable kScalarDenseMatmul = {1, MultiplyScalar, MultiplyScalar, MultiplyScalar};

}  // namespace linnet::kernels
