// One step's work for the decoder: which tokens of which sequences.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/best_outputs.h"
#include "worker/model/kv_cache.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

// The tokens of one sequence that one step computes: positions first_position ... + tokens.size() - 1.
struct BatchSpan {
  std::span<const TokenId> tokens;  // at least one
  int64_t first_position = 0;
  const KvSequence* kv = nullptr;  // blocks for all those positions are allocated
  // Logits wanted: of the last token (decode, end of prefill), of every token (scoring), or of none (earlier chunks).
  enum class Logits { kNone, kLast, kAll } logits = Logits::kLast;
  // With kLast: only so many of the largest logits and whose they are; 0: the whole row.
  int32_t best = 0;
  // The length that positions which depend on one are computed for (RopeDescription::DependsOnLength): of the whole
  // sequence where that is known, of its prompt where it is being generated. The same in all steps of a sequence.
  int64_t sequence_tokens = 0;

  int64_t logit_rows() const {
    switch (logits) {
      case Logits::kNone:
        return 0;
      case Logits::kLast:
        return 1;
      case Logits::kAll:
        return static_cast<int64_t>(tokens.size());
    }
    return 0;
  }
};

// What a step computed. Valid until the next one.
struct StepOutput {
  // The rows that are wanted whole, in span order: [rows, vocab] f32. The caller may change them.
  std::span<float> logits;
  // For each span that wants but the best: these, the largest first, of equals the lower id first.
  std::span<const std::span<const kernels::ScoredOutput>> best;
};

}  // namespace linnet::worker
