// Which parts of a model structured pruning keeps. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/linnet/prune_scores.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"

namespace linnet::cli {

struct PruneShares {
  double ffn_keep = 1;    // of each block's neurons, (0, 1]
  double heads_keep = 1;  // of its key/value heads
  // Widths are multiples of it, as far as the block was one; 0: of what the file's FFN output matrices are stored in
  // blocks of, and at least of 32.
  int ffn_multiple = 0;
};

// What is kept of a stored block, in ascending order; where a list is empty, all of it.
struct BlockCut {
  std::vector<int32_t> ffn;       // neurons
  std::vector<int32_t> kv_heads;  // with their query heads
  bool operator==(const BlockCut&) const = default;
};

// The best of each block; of equal ones the first. INVALID_ARGUMENT where a share is out of range, or heads are to go
// that depend on each other (ALiBi, queries normed over all heads, latent attention) or that not all layers have
// (recurrent ones).
absl::StatusOr<std::vector<BlockCut>> PlanPruning(const worker::GgufFile& file, const worker::ModelDescription& model,
                                                  const PruneScores& scores, const PruneShares& shares);

}  // namespace linnet::cli
