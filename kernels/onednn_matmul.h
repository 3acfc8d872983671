// The only door to oneDNN: one slice of a product in f32, on the calling thread.
#pragma once

#include <cstdint>

#include "kernels/isa.h"

namespace linnet::kernels {

// y[m, n] (stride y_stride) = x[m, k] · w[n, k]ᵀ, or += where `accumulate`.
struct OnednnSlice {
  const float* weights = nullptr;  // [n, k]
  const float* x = nullptr;        // [m, k]
  float* y = nullptr;
  int64_t m = 0, n = 0, k = 0;
  int64_t y_stride = 0;
  bool accumulate = false;
};

// The most that oneDNN may use from now on; its first caller in the process decides.
void LimitOnednn(Isa isa);

// Thread-safe. Primitives and scratch memory are kept for each thread, a bounded number of them.
void OnednnMultiply(const OnednnSlice& slice);

}  // namespace linnet::kernels
