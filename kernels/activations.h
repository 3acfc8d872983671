// Activations in the forms that products take: of quantized weights, 8-bit integers in groups of 32; of others, panels.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "kernels/activation_chunks.h"
#include "kernels/activation_panels.h"
#include "kernels/activation_scale.h"
#include "kernels/isa.h"
#include "kernels/matrix.h"
#include "kernels/quant_block.h"

namespace linnet::kernels {

// x ~ scale * q, |q| <= 127, scale = max|x| / 127; kNoNumbers where an input is infinite or NaN.
struct ActivationGroup {
  int8_t q[kGroup];
  float scale;
  float scaled_sum;  // scale * sum(q): what a weight's min is multiplied by
  // What a weight's offset is multiplied by:
  int32_t negative_sum;         // -sum(q)
  int32_t negative_first_half;  // the same of the first 16
};
static_assert(sizeof(ActivationGroup) == 48);

// Every product with it is NaN.
inline constexpr ActivationGroup kNoNumbers = {.scale = kNoScale, .scaled_sum = kNoScale};

// Rows come in blocks: the same group of all rows of a block lies together, as the kernels read it.
inline constexpr int64_t kActivationBlock = 16;

struct ActivationBlocks {
  int64_t block_rows = 0;           // kActivationBlock, or all rows where they are fewer
  int64_t groups = 0;               // per row
  ActivationGroup* data = nullptr;  // [blocks, groups, block_rows]

  // Where a row's first group is; the next one is block_rows on.
  ActivationGroup* Row(int64_t row) const { return data + row / block_rows * block_rows * groups + row % block_rows; }
};

struct Activations::Forms {
  bool quantized = false;  // `blocks` holds the current rows
  ActivationBlocks blocks;
  std::vector<ActivationGroup> storage;
  // The same for weights that share scales, by the chunks of activations that share one.
  struct Chunks {
    bool quantized = false;
    ActivationChunks chunks;
    ActivationChunkStorage storage;
  };
  std::map<int64_t, Chunks> chunks;
  bool paneled = false;  // so do `panels`
  ActivationPanels panels;
  std::vector<float> panel_storage;
};

// One row: x: [groups * 32] to out[0], out[stride], ... Every ISA gives the same result.
using QuantizeRowFn = void (*)(const float* x, int64_t groups, int64_t stride, ActivationGroup* out);
QuantizeRowFn QuantizeRowFor(Isa isa);

}  // namespace linnet::kernels
