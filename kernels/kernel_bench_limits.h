// The machine's limits, for the benchmarks: plain reads, and 8-bit dot products from registers.
#pragma once

#include <cstdint>

#include "kernels/isa.h"

namespace linnet::kernels {

struct LimitsTable {
  uint64_t (*sum)(const uint64_t* words, int64_t n);
  // Does about `rounds` rounds of independent dot products; returns how many operations (2 per multiply-add) they were.
  int64_t (*dot_products)(int64_t rounds);
};
const LimitsTable& LimitsTableFor(Isa isa);

}  // namespace linnet::kernels
