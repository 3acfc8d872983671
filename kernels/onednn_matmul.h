// The only door to oneDNN: one slice of a dense product, on the calling thread.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/isa.h"

namespace linnet::kernels {

// y[m, n] (stride y_stride) = x[m, k] · w[n, k]ᵀ, or += where `accumulate`.
struct DenseSlice {
  DType weights_type = DType::kF32;
  const void* weights = nullptr;  // [n, k]
  const float* x = nullptr;       // [m, k]
  float* y = nullptr;
  int64_t m = 0, n = 0, k = 0;
  int64_t y_stride = 0;
  bool accumulate = false;
};

// Whether oneDNN multiplies f32 activations with weights of this type by a fast implementation here. Otherwise the
// caller widens the weights to f32, which is always there. `isa`: the most that oneDNN may use from now on (its first
// caller in the process decides).
bool OnednnTakes(DType weights_type, Isa isa);

// Thread-safe. Primitives and scratch memory are kept for each thread, a bounded number of them.
void OnednnMultiply(const DenseSlice& slice);

}  // namespace linnet::kernels
