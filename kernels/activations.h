// Activations in the form that quantized products take: 8-bit integers in groups of 32.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/isa.h"
#include "kernels/matrix.h"
#include "kernels/quant_block.h"

namespace linnet::kernels {

// x ~ scale * q, |q| <= 127, scale = max|x| / 127.
struct ActivationGroup {
  int8_t q[kGroup];
  float scale;
  float scaled_sum;         // scale * sum(q): what a weight's min is multiplied by
  int32_t negative_sum[2];  // -sum of each half of q: what a weight's offset is multiplied by
};
static_assert(sizeof(ActivationGroup) == 48);

struct Activations::Forms {
  bool quantized = false;               // `groups` holds the current rows
  std::vector<ActivationGroup> groups;  // [rows, cols / 32]
};

// One row: x: [groups * 32]. Every ISA gives the same result.
using QuantizeRowFn = void (*)(const float* x, int64_t groups, ActivationGroup* out);
QuantizeRowFn QuantizeRowFor(Isa isa);

}  // namespace linnet::kernels
