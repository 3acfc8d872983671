// The inner loops that measure the machine's limits, for one ISA: plain reads of memory, and the arithmetic of the
// products from registers alone. machine_limits.h times them.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/isa.h"

namespace linnet::kernels {

// An arithmetic loop does about `rounds` rounds of independent operations and returns how many operations they were; a
// multiply-add counts as two.
using LimitLoop = int64_t (*)(int64_t rounds);

struct LimitsTable {
  uint64_t (*sum)(const uint64_t* words, int64_t n);
  LimitLoop f32;  // fused multiply-adds
  // Products of unsigned weights of so many bits with signed 8-bit activations. Where products of pairs go into 16 bits
  // first, narrow weights let several of them be added there before they are widened to 32 bits: 1, 2, 4 and 8.
  LimitLoop int8, int6, int5, int4;
  // The instructions of those loops, for the reader of a report.
  std::string_view f32_instructions;
  std::string_view int8_instructions, int6_instructions, int5_instructions, int4_instructions;
};
const LimitsTable& LimitsTableFor(Isa isa);

}  // namespace linnet::kernels
