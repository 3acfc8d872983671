// What the kernel tests share: random weights in every format, and the ISAs to run on.
#pragma once

#include "gtest/gtest.h"
#include "kernels/isa.h"
#include "kernels/kernel_test_data.h"

namespace linnet::kernels::testing {

// Runs what follows on one ISA, and leaves the best one behind.
class ScopedIsa {
 public:
  explicit ScopedIsa(Isa isa) { SetIsaForTesting(isa); }
  ~ScopedIsa() { SetIsaForTesting(SupportedIsas().back()); }
};

}  // namespace linnet::kernels::testing
