// How much the parts of a model matter that structured pruning can leave out: FFN neurons, and key/value heads with the
// query heads that share them. By activations on a text (Muralidharan et al., arXiv 2407.14679, section 3.1).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/observed_run.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"

namespace linnet::cli {

// Of one stored block; the larger, the more it matters. A list is empty where there is nothing to choose from.
struct BlockScores {
  std::vector<double> ffn;       // of each neuron
  std::vector<double> kv_heads;  // of each key/value head
};
struct PruneScores {
  std::vector<BlockScores> blocks;
  int64_t tokens = 0;  // of the text; 0: none was used
};

// Of a neuron: what goes into the FFN's output matrix in its place. Of a key/value head: the length of what its query
// heads put into attention's output matrix. Either is a mean of magnitudes over the tokens of a sequence, and the root
// of the sum of squares over sequences. Errors of RunObserved.
absl::StatusOr<PruneScores> ScoreByActivations(const worker::GgufFile& file, const worker::ModelDescription& model,
                                               const ObservedText& text, kernels::ThreadPool& pool);

// What a choice by chance scores, for comparison. The same for the same seed.
PruneScores ScoreByChance(const worker::ModelDescription& model, uint64_t seed);

}  // namespace linnet::cli
